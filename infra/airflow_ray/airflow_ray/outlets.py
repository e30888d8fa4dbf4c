"""Asset events only where something changed.

Airflow fires one event for each asset in `outlets` of a task that succeeds. What it reads, in the worker when the task
ends, is the running task's own `outlets`; the DAG's serialised form, from which the asset graph is drawn and consumers
are scheduled, keeps them all. So an unchanged outlet is taken off the running copy: the graph keeps its edges, and no
event fires. (An AssetAlias could be silent too, but then the graph would show the alias and no edge to the asset.)
"""

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

if TYPE_CHECKING:
    from airflow.sdk import Context


def emit_outlets(context: "Context", extra: dict[str, Any] | None) -> None:
    """Let every asset outlet of the task fire with `extra`, or none of them where extra is None."""
    task: Any = context["ti"].task
    if extra is None:
        task.outlets = [outlet for outlet in task.outlets if not isinstance(outlet, Asset)]
        return
    for outlet in task.outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(extra)
