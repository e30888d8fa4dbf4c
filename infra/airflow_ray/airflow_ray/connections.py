"""Airflow's side of the endpoint: the connection type `ray` and its look-up in tasks and triggers."""

import asyncio
from typing import Any

from airflow.sdk import BaseHook

from airflow_ray.endpoint import CONNECTION_TYPE, RayEndpoint, resolve_endpoint
from airflow_ray.errors import RayJobError
from airflow_ray.jobs_client import RayJobsClient

PROBED_ID = "airflow-connection-test"


class RayHook(BaseHook):
    """The endpoint behind a connection of type `ray`: host (or URL), port, schema; the password is the token."""

    conn_name_attr = "ray_conn_id"
    default_conn_name = "ray_default"
    conn_type = CONNECTION_TYPE
    hook_name = "Ray Jobs"

    def __init__(self, ray_conn_id: str | None = None, address: str | None = None) -> None:
        """Take the connection's id, an address that goes before its own, or neither (then the environment)."""
        super().__init__()
        self.ray_conn_id = ray_conn_id
        self.address = address

    def get_conn(self) -> RayEndpoint:
        """Return the endpoint, in a worker. Raises ValueError as `resolve_endpoint`."""
        connection = self.get_connection(self.ray_conn_id) if self.ray_conn_id else None
        return resolve_endpoint(self.address, connection)

    async def aget_conn(self) -> RayEndpoint:
        """Return the endpoint, in a triggerer."""
        connection = await self.aget_connection(self.ray_conn_id) if self.ray_conn_id else None
        return resolve_endpoint(self.address, connection)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the Jobs API answers and takes the token, and a sentence about it."""

        async def probe() -> None:
            async with RayJobsClient(self.get_conn()) as client:
                await client.find(PROBED_ID)

        try:
            asyncio.run(probe())
        except (RayJobError, ValueError) as error:
            return False, str(error)
        return True, "The Ray Jobs API answers"

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form: what a Ray connection does not have is hidden."""
        return {
            "hidden_fields": ["login", "extra"],
            "relabeling": {"password": "Token", "schema": "Scheme"},
            "placeholders": {"host": "ray-head.ray.svc", "port": "8265", "schema": "http"},
        }
