"""An Airflow notifier that posts JSON to a webhook: ``text``, which chat systems show, and the alarms themselves."""

import json
import urllib.request
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseNotifier

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context

TIMEOUT_S = 30.0


class WebhookNotifier(BaseNotifier):
    """Posts to the address of an Airflow connection; its password, if it has one, is the bearer token."""

    template_fields = ("text",)

    def __init__(self, *, conn_id: str, text: str = "{{ alarm_text }}") -> None:
        """conn_id: a connection whose host is the whole URL, or a host with schema, port and ``path`` in its extra."""
        super().__init__()
        self.conn_id, self.text = conn_id, text

    def notify(self, context: "Context") -> None:
        """Send one message. An answer other than 2xx raises."""
        connection = BaseHook.get_connection(self.conn_id)
        alarms = [_plain(row) for row in dict(context).get("alarms", ())]
        body = {"text": self.text, "night": dict(context).get("night"), "alarms": alarms}
        request = urllib.request.Request(address_of(connection), json.dumps(body).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        if connection.password:
            request.add_header("Authorization", f"Bearer {connection.password}")
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            reply.read()


def address_of(connection: "Connection") -> str:
    """The URL of a connection. ValueError where it is not http or https."""
    host = connection.host or ""
    if "://" not in host:
        port = f":{connection.port}" if connection.port else ""
        path = str(connection.extra_dejson.get("path", "")).lstrip("/")
        host = f"{connection.schema or 'https'}://{host}{port}/{path}"
    if not host.startswith(("http://", "https://")):
        raise ValueError(f"connection {connection.conn_id}: address {host!r}; accepted are http:// and https://")
    return host


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """What a receiver needs of an alarm."""
    wanted = ("night", "model", "metric", "stratum", "extractor", "value", "baseline_mean", "effect", "adjusted_p")
    return {name: row[name] for name in (*wanted, "model_version", "metrics")}
