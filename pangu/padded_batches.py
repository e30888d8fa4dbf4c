"""Networks run in batches of one fixed, padded size, which halves when memory runs out.

On a CPU a row's result depends on the size of its batch, in the last bits, but not on the other rows: so every batch has one
size, the last one padded with its own last row.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pangu.denoiser import Conditioning, Denoiser

_SIGNS = ("out of memory", "can't allocate memory")
"""What the allocators of CUDA and Ascend, and of the CPU, say in their RuntimeError."""


class SingleRowError(Exception):
    """Memory ran out for one row in a batch of one. row: its place among the rows that were to run."""

    def __init__(self, row: int) -> None:
        """Name the row."""
        super().__init__(f"out of memory: row {row}, in a batch of one")
        self.row = row


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch raises when a device or the host has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


class PaddedBatches:
    """The size in which one kind of work runs, remembered from call to call.

    rows: the size now; first: the size at the beginning. used: the sizes that have run since it was last cleared.
    """

    def __init__(self, rows: int) -> None:
        """rows: the size to begin with, at least 1."""
        self.rows = self.first = rows
        self.used: set[int] = set()

    def run(self, count: float, call: Callable[[Tensor], Tensor]) -> Tensor:
        """Results (count, ...) of all rows, from calls told which `rows` of them to run, (rows,) int64 places.

        Raises:
            SingleRowError: a row does not fit even alone.
        """
        parts: list[Tensor] = []
        start = 0
        while start < count:
            places = torch.arange(start, start + self.rows).clamp(max=count - 1)
            result = self._try(call, places)
            if result is not None:
                parts.append(result[: count - start])
                start += self.rows
            elif self.rows > 1:
                self.rows //= 2
            else:
                raise SingleRowError(start)
        return torch.cat(parts)

    def _try(self, call: Callable[[Tensor], Tensor], places: Tensor) -> Tensor | None:
        """The call's result; None when memory ran out, by then freed of what the failed call had held."""
        try:
            result = call(places)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            self.used.add(self.rows)
            return result
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
        return None


class PaddedDenoiser:
    """A denoiser that is only ever asked in padded batches."""

    def __init__(
        self, denoiser: Denoiser, batches: PaddedBatches, before_each: Callable[[int], None] | None = None
    ) -> None:
        """before_each: told t before each evaluation; what it raises ends the work."""
        self.denoiser = denoiser
        self.batches = batches
        self.before_each = before_each

    def __call__(self, x_t: Tensor, t: float, conditioning: Conditioning) -> Tensor:
        """See `Denoiser`; any number of rows.

        Raises:
            SingleRowError: a row does not fit in memory even alone.
        """

        def evaluate(places: Tensor) -> Tensor:
            if self.before_each is not None:
                self.before_each(int(t))
            index = places.to(x_t.device)
            return self.denoiser(x_t[index], t, conditioning.rows(index))

        return self.batches.run(len(x_t), evaluate)
