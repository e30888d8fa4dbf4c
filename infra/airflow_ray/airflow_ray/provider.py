"""What Airflow's provider manager reads from this distribution."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider metadata: the connection type `ray` and the operator's link."""
    return {
        "package-name": "airflow-ray-jobs",
        "name": "Ray Jobs",
        "description": "Run Ray jobs: deferrable, re-attaching, cancelled with their task.",
        "integrations": [
            {"integration-name": "Ray Jobs", "external-doc-url": "https://docs.ray.io/", "tags": ["software"]}
        ],
        "operators": [{"integration-name": "Ray Jobs", "python-modules": ["airflow_ray.operator"]}],
        "triggers": [{"integration-name": "Ray Jobs", "python-modules": ["airflow_ray.trigger"]}],
        "hooks": [{"integration-name": "Ray Jobs", "python-modules": ["airflow_ray.connections"]}],
        "connection-types": [
            {
                "connection-type": "ray",
                "hook-class-name": "airflow_ray.connections.RayHook",
                "hook-name": "Ray Jobs",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "extra"],
                    "relabeling": {"password": "Token", "schema": "Scheme"},
                    "placeholders": {"host": "ray-head.ray.svc", "port": "8265", "schema": "http"},
                },
            }
        ],
        "extra-links": ["airflow_ray.operator.RayJobLink"],
    }
