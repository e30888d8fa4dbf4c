"""What travels between the door, the book of jobs and the model: work on the way in, events on the way out."""

from dataclasses import dataclass
from typing import Any

from ray_jobs.service.orders import Order
from ray_jobs.service.refusal import Refusal


@dataclass(frozen=True)
class Work:
    """A checked order. timeout_s: what is left of its time, by the clock of whoever gets it now.

    images: condition images (H, W, 3) uint8 of every member of a fusion.
    """

    tenant: str
    order: Order
    seed: int
    timeout_s: float
    images: tuple[tuple[Any, ...], ...] = ()


@dataclass(frozen=True)
class Started:
    """The order has left the queue and is being sampled."""


@dataclass(frozen=True)
class Step:
    """How far an order's pictures are. previews: files of what they may become, where they were asked for now."""

    step: int
    steps: int
    previews: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Made:
    """The end of an order. pictures: marked files, or None where the output filter blocked one. model: exact version."""

    model: str
    size: str
    pictures: tuple[bytes | None, ...]


Event = Started | Step | Made | Refusal
End = Made | Refusal
