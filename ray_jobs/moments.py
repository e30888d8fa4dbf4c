"""Moments as text that sorts: the logical dates of nights, and from when on an alias points where. Standard library only."""

from datetime import UTC, datetime, timedelta


def in_utc(moment: str) -> str:
    """A moment or a date (ISO 8601) as ``2026-11-27T03:00:00Z``; without a zone it is UTC. ValueError for other text."""
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        raise ValueError(
            f"moment: {moment!r} is not ISO 8601; accepted is like 2026-11-27 or 2026-11-27T03:00Z"
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hours_before(moment: str, hours: float) -> str:
    """The moment so many hours earlier, as `in_utc` gives it."""
    return in_utc((datetime.fromisoformat(in_utc(moment)) - timedelta(hours=hours)).isoformat())


def day_number(moment: str) -> int:
    """Which day it is, counted from a fixed one: the next day's number is the next number."""
    return datetime.fromisoformat(in_utc(moment)).toordinal()


def short_names(moments: list[str]) -> dict[str, str]:
    """What an axis calls each moment of `in_utc`: its date, with the time where a date is there twice."""
    dates = [moment[:10] for moment in sorted(set(moments))]
    return {
        moment: moment[:10] if dates.count(moment[:10]) == 1 else moment[:16].replace("T", " ")
        for moment in sorted(set(moments))
    }
