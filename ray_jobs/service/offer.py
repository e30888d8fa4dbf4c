"""What a served version can do, as its door and its visitors need to know it."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from ray_jobs.service.orders import ImageOrder
from ray_jobs.service.refusal import refuse


class Offer(BaseModel):
    """A version. sizes: "WIDTHxHEIGHT" to the row of its bucket table. reference: what is followed, such as an alias."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    key: str
    digest: str
    sizes: dict[str, int]
    default_size: str
    styles: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The exact version, as answers name it."""
        return f"experts@{self.key}"

    @classmethod
    def of_card(cls, reference: str, key: str, digest: str, card: Mapping[str, object], default_bucket: int) -> "Offer":
        """From the pipeline's `experts.json`, whose sizes are (height, width)."""
        read = _Card.model_validate(card)
        sizes = {f"{row.structure[1]}x{row.structure[0]}": row.index for row in read.structure.buckets}
        names = {index: name for name, index in sizes.items()}
        default_size = names.get(default_bucket, names[0])
        styles = tuple(sorted(read.prefixes))
        return cls(
            reference=reference, key=key, digest=digest, sizes=sizes, default_size=default_size, styles=styles
        )  # fmt: skip

    @property
    def names(self) -> tuple[str, ...]:
        """What a request may call this model."""
        return tuple(dict.fromkeys(("experts", self.reference, self.model)))

    def bucket_of(self, order: ImageOrder) -> int:
        """The row of the bucket table that an order asks for.

        Raises:
            Refused: the model, the size or a style is not on offer.
        """
        if order.model is not None and order.model not in self.names:
            accepted = ", ".join(self.names)
            raise refuse(404, f"model = {order.model[:80]!r}: accepted are {accepted}", "model", "model_not_found")
        size = self.default_size if order.size == "auto" else order.size
        if size not in self.sizes:
            raise refuse(400, f"size = {order.size!r}: accepted are auto, {', '.join(self.sizes)}", "size")
        for style in order.styles:
            if style not in self.styles:
                raise refuse(400, f"styles.{style[:40]}: accepted are {', '.join(self.styles) or 'none'}", "styles")
        return self.sizes[size]


class _Row(BaseModel):
    index: int
    structure: tuple[int, int]


class _Structure(BaseModel):
    buckets: tuple[_Row, ...]


class _Card(BaseModel):
    structure: _Structure
    prefixes: dict[str, str] = {}
