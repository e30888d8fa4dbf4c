"""Both sides of an evaluation by name, and the strata that pictures fall into."""

from typing import Any

GENERATED, REFERENCE = "generated_images", "training_set"
LABELS = ("style", "language", "bucket", "category")


def strata_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Stratification -> key of a measured picture -> label; what every prompt set is looked at by counts as "yes".

    rows: with key, reason, the `LABELS` and strata.
    """
    found: dict[str, dict[str, str]] = {name: {} for name in LABELS}
    for row in rows:
        if row["reason"] is not None:
            continue
        for name in LABELS:
            if row[name]:
                found[name][row["key"]] = row[name]
        for name in row["strata"] or ():
            if name not in LABELS:
                found.setdefault(name, {})[row["key"]] = "yes"
    return found
