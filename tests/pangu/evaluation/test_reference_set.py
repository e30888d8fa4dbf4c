import dataclasses

import numpy as np
import pytest

from pangu.evaluation.features import ExtractorCard, ImageFeatures
from pangu.evaluation.partial_state import PartialState, make_state
from pangu.evaluation.reference_set import (
    cached_reference,
    reference_from_bytes,
    reference_key,
    reference_to_bytes,
)
from pangu.evaluation.set_card import content_hash, set_card

EXTRACTOR = ExtractorCard("judge", "ab" * 32, num_dims=4, resize_mode="bicubic-64")
CARD = set_card(EXTRACTOR, image_format="jpeg-95", num_images=20, seed=3, content=content_hash([("a", "1")]))


def state() -> PartialState:
    features = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    return make_state([f"k{row}" for row in range(20)], ImageFeatures(EXTRACTOR, features))


def test_a_second_evaluation_reads_what_the_first_computed(tmp_path):
    calls = []

    def compute() -> PartialState:
        calls.append(1)
        return state()

    first = cached_reference(tmp_path / "references", CARD, compute)
    second = cached_reference(tmp_path / "references", CARD, compute)
    assert len(calls) == 1
    np.testing.assert_array_equal(first.features, second.features)
    cached_reference(tmp_path / "references", dataclasses.replace(CARD, marks="c2pa"), compute)
    assert len(calls) == 2
    assert {path.suffix for path in (tmp_path / "references").iterdir()} == {".safetensors"}


def test_the_key_depends_on_pictures_and_reading_alike():
    keys = {
        reference_key(CARD),
        reference_key(CARD, max_rows=1000),
        reference_key(dataclasses.replace(CARD, content="other")),
        reference_key(dataclasses.replace(CARD, resize_mode="bilinear-64")),
        reference_key(dataclasses.replace(CARD, image_format="png")),
    }
    assert len(keys) == 5
    with pytest.raises(ValueError, match="content: received an empty text"):
        reference_key(dataclasses.replace(CARD, content=""))


def test_an_unlike_card_and_a_damaged_file_are_refused(tmp_path):
    data = reference_to_bytes(state(), CARD)
    assert reference_from_bytes(data, CARD).count == 20
    for change in ({"image_format": "png"}, {"marks": "c2pa"}, {"content": "x"}, {"num_images": 21}):
        with pytest.raises(ValueError, match=f"{next(iter(change))}: received"):
            reference_from_bytes(data, dataclasses.replace(CARD, **change))
    with pytest.raises(ValueError, match="card: received"):
        reference_to_bytes(state(), dataclasses.replace(CARD, fingerprint="cd" * 32))
    cached_reference(tmp_path, CARD, state)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="accepted: a file of format"):
        cached_reference(tmp_path, CARD, state)
