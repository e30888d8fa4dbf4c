"""The account of a stage: what went in came out or left with a reason, and the numbers add up."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from curation.errors import ConservationError
from curation.rejection import Rejection


@dataclass(frozen=True)
class Funnel:
    """Counts of one stage; `kept_by` splits the kept ones further, e.g. {'style': {'cartoon': 3, ...}}."""

    taken: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    kept_by: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ConservationError unless taken == kept + dropped, and each split adds up to kept."""
        if self.taken != self.kept + sum(self.dropped.values()):
            raise ConservationError(
                f"{self.taken} records went in, but {self.kept} were kept and {sum(self.dropped.values())} dropped"
            )
        for name, counts in self.kept_by.items():
            if sum(counts.values()) != self.kept:
                raise ConservationError(f"{name}: the parts add up to {sum(counts.values())}, not to {self.kept} kept")
        unknown = set(self.dropped) - {reason.value for reason in Rejection}
        if unknown:
            raise ConservationError(f"unknown reasons: {', '.join(sorted(unknown))}")

    def __add__(self, other: "Funnel") -> "Funnel":
        """The account of both parts together."""
        names = sorted({*self.kept_by, *other.kept_by})
        kept_by = {name: _sum(self.kept_by.get(name, {}), other.kept_by.get(name, {})) for name in names}
        return Funnel(self.taken + other.taken, self.kept + other.kept, _sum(self.dropped, other.dropped), kept_by)


def count_funnel(
    taken: int, reasons: Iterable[str | None], splits: Mapping[str, Iterable[str | int | None]] | None = None
) -> Funnel:
    """The account of rows with these reasons (None: kept); `splits` are columns of equal length to split kept by.

    `taken` is the number of records that went in, counted on the way in and not from these rows.
    """
    reasons = list(reasons)
    dropped = Counter(reason for reason in reasons if reason is not None)
    kept_by = {
        name: dict(sorted(Counter(str(v) for v, reason in zip(values, reasons, strict=True) if reason is None).items()))
        for name, values in (splits or {}).items()
    }
    return Funnel(taken, reasons.count(None), dict(sorted(dropped.items())), kept_by)


def _sum(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in sorted({*first, *second})}
