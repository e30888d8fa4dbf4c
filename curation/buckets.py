"""The resolution buckets: which rows there are, which row a picture belongs to.

Source: arXiv 2312.16486, supplement, Table 1. One row index serves both experts; the structure column decides it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from curation.crop_plan import CropPlan, plan_centre_crop

Size = tuple[int, int]
"""(height, width) in px."""

SIDE_MULTIPLE_PX = 8
"""The coarsest grid any model of ours needs: a VAE of f = 4 before a U-Net with one downsampling."""


@dataclass(frozen=True)
class BucketRow:
    """One row of the table: the size each expert trains at."""

    index: int
    structure: Size
    texture: Size


@dataclass(frozen=True)
class BucketTable:
    """Rows in the order of their index, 0 first; every side divides by `SIDE_MULTIPLE_PX`."""

    rows: tuple[BucketRow, ...]

    def __post_init__(self) -> None:
        """Refuse a table that no model could train on."""
        if not self.rows:
            raise ValueError("bucket table: at least 1 row is needed; got 0")
        for position, row in enumerate(self.rows):
            if row.index != position:
                raise ValueError(f"bucket table: row {position} has index {row.index}; indices must run 0, 1, 2, ...")
            for column in ("structure", "texture"):
                if any(side < 1 or side % SIDE_MULTIPLE_PX for side in getattr(row, column)):
                    raise ValueError(
                        f"bucket table: row {position} has {column} {getattr(row, column)}; "
                        f"every side must be a positive multiple of {SIDE_MULTIPLE_PX}"
                    )

    def assign(self, height: int, width: int) -> int:
        """Index of the row whose structure column has the nearest log aspect; ties go to the smaller index.

        Compared as exact products of whole numbers: |log(a/b)| orders as max(a/b, b/a) does.
        """
        if min(height, width) < 1:
            raise ValueError(f"height and width must be at least 1 px; got {height}x{width}")
        best_index, best = 0, (0, 0)
        for row in self.rows:
            row_height, row_width = row.structure
            low, high = sorted((height * row_width, width * row_height))
            if best == (0, 0) or high * best[1] < best[0] * low:
                best_index, best = row.index, (high, low)
        return best_index

    def structure_crop(self, height: int, width: int) -> CropPlan:
        """The plan for the structure expert, which takes every picture, upscaled if need be."""
        return plan_centre_crop((height, width), self.rows[self.assign(height, width)].structure)

    def texture_crop(self, height: int, width: int) -> CropPlan:
        """The plan for the texture expert, in the same row."""
        return plan_centre_crop((height, width), self.rows[self.assign(height, width)].texture)

    def is_texture_eligible(self, height: int, width: int) -> bool:
        """Whether the texture expert may see the picture: it would not be upscaled."""
        plan = self.texture_crop(height, width)
        return plan.resize_height <= height and plan.resize_width <= width

    def to_json(self) -> str:
        """A JSON list of {"index", "structure": [h, w], "texture": [h, w]}."""
        return json.dumps(
            [{"index": row.index, "structure": row.structure, "texture": row.texture} for row in self.rows]
        )

    @classmethod
    def from_json(cls, text: str) -> "BucketTable":
        """The table of `to_json`'s text; ValueError where it is none."""
        try:
            rows = [
                BucketRow(int(row["index"]), _read_size(row["structure"]), _read_size(row["texture"]))
                for row in json.loads(text)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"bucket table: expected a JSON list of index, structure, texture; got {text[:80]!r}"
            ) from error
        return cls(tuple(rows))

    @classmethod
    def from_sizes(cls, sizes: Sequence[tuple[Size, Size]]) -> "BucketTable":
        """The table with these (structure, texture) sizes in order."""
        return cls(tuple(BucketRow(index, *pair) for index, pair in enumerate(sizes)))


def _read_size(sides: Sequence[int]) -> Size:
    height, width = sides
    return int(height), int(width)


FULL_BUCKETS = BucketTable.from_sizes(
    [
        ((512, 2048), (256, 1024)),
        ((512, 1920), (256, 960)),
        ((704, 1408), (384, 768)),
        ((768, 1344), (416, 736)),
        ((864, 1152), (480, 640)),
        ((1024, 1024), (512, 512)),
        ((1152, 864), (640, 480)),
        ((1344, 768), (736, 416)),
        ((1408, 704), (768, 384)),
        ((1920, 512), (960, 256)),
        ((2048, 512), (1024, 256)),
    ]
)
"""Table 1."""

SAMPLE_BUCKETS = BucketTable.from_sizes(
    [
        ((32, 128), (16, 64)),
        ((32, 112), (16, 56)),
        ((48, 96), (24, 48)),
        ((48, 80), (24, 40)),
        ((56, 72), (32, 40)),
        ((64, 64), (32, 32)),
        ((72, 56), (40, 32)),
        ((80, 48), (40, 24)),
        ((96, 48), (48, 24)),
        ((112, 32), (56, 16)),
        ((128, 32), (64, 16)),
    ]
)
"""The table of the `sample` preset: the same eleven kinds of shape at about 64 px."""
