"""What follows a night in Airflow: the champion's succession, and alarms through Airflow's notifiers.

Both only read what Ray jobs have stored, and write a line of a few bytes; both may be repeated without harm.
"""

import hashlib
import importlib
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, BaseOperator

from ray_jobs.dag_task import own_preset

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ray_jobs.manifest import Manifest
    from ray_jobs.store import Store
    from ray_jobs.versions import Versions

Rows = list[dict[str, Any]]


class PromoteCandidate(BaseOperator):
    """Moves the champion's alias to the candidate where the night's gate says so, if both are still what was compared.

    A backfill moves nothing: the nights after it have been run with the champion that they had.
    """

    def __init__(self, *, night_task: str, **kwargs: Any) -> None:  # noqa: ANN401 the base operator's own arguments
        """night_task: the task whose result names the version of ``nights``."""
        super().__init__(
            **{"task_id": "promote_candidate", "doc_md": "lets the gate's winner be the champion", **kwargs}
        )
        self.night_task = night_task

    def execute(self, context: "Context") -> dict[str, Any]:
        """What was done, and why."""
        from ray_jobs.store import Store
        from ray_jobs.versions import Versions

        run: Any = context["dag_run"]
        versions = Versions(Store.from_environment())
        night = versions.find("nights", context["ti"].xcom_pull(task_ids=self.night_task)["key"])
        assert night is not None
        done = promote_winner(versions, night, may_move=str(run.run_type) != "backfill")
        self.log.info("%s", done["why"])
        return done


def promote_winner(versions: "Versions", night: "Manifest", *, may_move: bool) -> dict[str, Any]:
    """Move the alias if the night's gate, and nothing since, allows it: whether it was moved, to what, and why."""
    from ray_jobs.manifest import now

    gate, models = night.facts["gate"], night.facts["models"]
    candidate = models["candidate"]["version"]
    why = str(gate["why"])
    if gate["is_promotion"] and models["candidate"]["name"] != "experts":
        why = f"{why} But aliases are of experts, and the candidate is {models['candidate']['name']}."
    elif gate["is_promotion"] and not may_move:
        why = f"{why} But a backfill moves no alias."
    elif gate["is_promotion"]:
        newest = {alias: versions.as_of("experts", now(), alias).key for alias in ("champion", "candidate")}
        moved = [alias for alias, key in newest.items() if key != models[alias]["version"]]
        if not moved:
            winner = versions.resolve(f"experts@{candidate}")
            versions.promote(winner, "champion", why=f"night {night.facts['night']}, nights@{night.key}: {why}")
            return {"moved": True, "champion": winner.key, "why": why}
        why = f"{why} But {' and '.join(moved)} moved meanwhile."
    return {"moved": False, "champion": models["champion"]["version"], "why": why}


class RaiseAlarms(BaseOperator):
    """Tells every alarm of the history that was not told before, one message a night, through the preset's notifiers."""

    def __init__(self, *, history_task: str, **kwargs: Any) -> None:  # noqa: ANN401 the base operator's own arguments
        """history_task: the task whose result names the version of ``history``."""
        super().__init__(
            **{"task_id": "raise_alarms", "doc_md": "tells new alarms to the preset's notifiers", **kwargs}
        )
        self.history_task = history_task

    def execute(self, context: "Context") -> list[str]:
        """The nights that were told. A notifier that fails fails the task, whose retry tells that night again."""
        from ray_jobs.parts import read_rows
        from ray_jobs.store import Store
        from ray_jobs.versions import Versions

        store = Store.from_environment()
        history = Versions(store).find("history", context["ti"].xcom_pull(task_ids=self.history_task)["key"])
        assert history is not None
        alarms = [row for row in read_rows(store, history).to_pylist() if row["is_alarm"]]
        told = []
        for night, rows in untold(store, alarms):
            text = describe_alarms(night, rows)
            self.log.warning("%s", text)
            for notifier in make_notifiers():
                notifier({**context, "night": night, "alarms": rows, "alarm_text": text})
            mark_told(store, night, rows)
            told.append(night)
        return told


def untold(store: "Store", alarms: Rows) -> Iterator[tuple[str, Rows]]:
    """The nights, in their order, whose alarms are not the ones that were told of them."""
    by_night: dict[str, Rows] = defaultdict(list)
    for row in alarms:
        by_night[row["night"]].append(row)
    for night, rows in sorted(by_night.items()):
        if not store.exists(told_name(night, rows)):
            yield night, rows


def told_name(night: str, rows: Rows) -> str:
    """Where the store remembers that these alarms were told."""
    names = sorted([row["model"], row["metric"], row["stratum"], row["extractor"]] for row in rows)
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:24]
    return f"alarms/{night.replace(':', '')}/{digest}.json"


def mark_told(store: "Store", night: str, rows: Rows) -> None:
    """Remember it; another run that told the same is no error."""
    from ray_jobs.errors import AlreadyStored
    from ray_jobs.manifest import now

    with suppress(AlreadyStored):
        store.create(told_name(night, rows), json.dumps({"at": now(), "alarms": len(rows)}).encode())


def describe_alarms(night: str, rows: Rows) -> str:
    """One message: a line a number, what moved furthest first."""
    ordered = sorted(rows, key=lambda row: -abs(row["effect_size"] or 0.0))
    lines = [
        f"{row['model']} {row['metric']} ({row['stratum']}): {row['value']:.4g}, nights before {row['baseline_mean']:.4g}, "
        f"adjusted p {row['adjusted_p']:.2g}; experts {str(row['model_version'])[:12]}"
        for row in ordered
    ]
    return f"Evaluation of {night}: {len(rows)} numbers moved further than quiet nights let them.\n" + "\n".join(lines)


def make_notifiers() -> list[BaseNotifier]:
    """The preset's notifiers: ``[[notifiers]]`` tables with ``class`` (module:name) and its arguments."""
    found = []
    for table in own_preset().notifiers:
        arguments = dict(table)
        module, _, name = str(arguments.pop("class")).partition(":")
        made = getattr(importlib.import_module(module), name)(**arguments)
        if not isinstance(made, BaseNotifier):
            raise ValueError(f"notifiers.class = {table['class']!r}: accepted are Airflow notifiers")
        found.append(made)
    return found
