import random

import pyarrow as pa
import pytest

from curation.buckets import SAMPLE_BUCKETS
from curation.records import SCORES, TRAINING_SET
from curation.rules import RuleSettings
from curation.style_prefix import StyleSettings
from curation.training_rows import IMAGE_COLUMNS, TrainingSetSettings, build_training_rows, training_funnel

SETTINGS = TrainingSetSettings(
    buckets=SAMPLE_BUCKETS, rules=RuleSettings(min_side_px=16), style=StyleSettings(min_aesthetic=5.0)
)
TYPES = {"image_row": pa.int64(), "width": pa.int32(), "height": pa.int32(), "captions_en": pa.list_(pa.string()), "captions_zh": pa.list_(pa.string())}  # fmt: skip  # noqa: E501


def image(key: str, **change: object) -> dict:
    row = dict.fromkeys(IMAGE_COLUMNS) | {
        "key": key, "image_part": "p0", "image_row": 7, "sha256": key, "stored_sha256": key, "width": 64, "height": 64,
        "captions_en": ["a cat"], "captions_zh": [],
    }  # fmt: skip
    return row | change


def score(key: str, look: int, **change: object) -> dict:
    row = dict.fromkeys(SCORES.names) | {
        "key": key, "caption_similarity_en": 0.3, "aesthetic": 4.0, "cartoon_probability": 0.1,
        "perceptual_hash": f"{look * 0x0123456789ABCDEF % 2**64:016x}",
    }  # fmt: skip
    return row | change


def tables(images: list[dict], scores: list[dict]) -> tuple[pa.Table, pa.Table]:
    schema = pa.schema([(name, TYPES.get(name, pa.string())) for name in IMAGE_COLUMNS])
    return pa.Table.from_pylist(images, schema=schema), pa.Table.from_pylist(scores, schema=SCORES)


CASES = [
    (image("a0"), score("a0", 1), None),
    (image("a1"), score("a1", 2, aesthetic=6.0), None),
    (image("a2"), score("a2", 3, aesthetic=6.0, cartoon_probability=0.9), None),
    (image("a3", width=20, height=12), score("a3", 4), "side_too_short"),
    (image("a4", reason="http_error", width=None, height=None), score("a4", 5, reason="http_error"), "http_error"),
    (image("a5"), None, "not_scored"),
    (image("a6"), score("a6", 7, reason="truncated"), "truncated"),
    (image("a7", captions_en=[]), score("a7", 8), "no_caption"),
    (image("a8"), score("a8", 1), "duplicate_perceptual"),
    (image("a9", sha256="a1"), score("a9", 10), "duplicate_exact"),
    (image("b0", captions_en=[], captions_zh=["猫"], height=16), score("b0", 11), None),
    (image("b1", width=2000, height=1500, captions_en=[]), score("b1", 3), "no_caption"),
]


def build(cases, settings=SETTINGS) -> pa.Table:
    return build_training_rows(*tables([c[0] for c in cases], [c[1] for c in cases if c[1]]), settings)


@pytest.mark.reliability(7)
def test_each_row_leaves_for_its_own_reason() -> None:
    rows = build(CASES)
    assert rows.schema == TRAINING_SET
    assert dict(zip(rows["key"].to_pylist(), rows["reason"].to_pylist(), strict=True)) == {
        c[0]["key"]: c[2] for c in CASES
    }
    funnel = training_funnel(len(CASES), rows)
    assert (funnel.kept, sum(funnel.dropped.values())) == (4, 8)
    assert funnel.kept_by["style"] == {"aesthetic": 1, "cartoon": 1, "other": 2}


def test_kept_rows_carry_style_bucket_and_plans() -> None:
    rows = {row["key"]: row for row in build(CASES).to_pylist()}
    assert [rows[key]["captions_en"] for key in ("a0", "a1", "a2")] == [["a cat"], ["義 a cat"], ["饅 a cat"]]
    wide = rows["b0"]
    assert (wide["bucket"], wide["captions_zh"], wide["texture_eligible"]) == (0, ["猫"], True)
    assert wide["structure_crop"] == {
        "resize_height": 32,
        "resize_width": 128,
        "top": 0,
        "left": 0,
        "height": 32,
        "width": 128,
    }
    assert (rows["a0"]["image_part"], rows["a0"]["image_row"], rows["a0"]["bucket"]) == ("p0", 7, 5)
    assert rows["a3"]["bucket"] is None


@pytest.mark.reliability(6)
def test_order_of_the_input_does_not_matter() -> None:
    expected = build(CASES)
    for seed in range(5):
        images, scores = tables([c[0] for c in CASES], [c[1] for c in CASES if c[1]])
        order = random.Random(seed).sample(range(len(images)), len(images))
        assert build_training_rows(
            images.take(order), scores.take(list(reversed(range(len(scores))))), SETTINGS
        ).equals(expected)


def test_bad_input_is_named() -> None:
    images, scores = tables([image("a")], [score("a", 1)])
    with pytest.raises(ValueError, match="images: columns image_part, image_row are missing"):
        build_training_rows(images.drop_columns(["image_part", "image_row"]), scores, SETTINGS)
    with pytest.raises(ValueError, match="key a occurs more than once"):
        build_training_rows(pa.concat_tables([images, images]), scores, SETTINGS)
