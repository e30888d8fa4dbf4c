import dataclasses

import pytest

from pangu.evaluation.set_card import READ_ALIKE, SetCard, check_comparable, content_hash, differing_fields

CARD = SetCard("inception-v3", "ab" * 32, "bilinear-299-tensorflow1", "png", num_images=5000, seed=7, content="v1")
CHANGES = {
    "extractor": "dinov2-1024",
    "fingerprint": "cd" * 32,
    "resize_mode": "bicubic-299",
    "image_format": "jpeg-75",
    "num_images": 500,
    "seed": 8,
    "marks": "c2pa",
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_difference_is_refused_by_its_name(name):
    other = dataclasses.replace(CARD, **{name: CHANGES[name]})
    assert differing_fields(CARD, other) == (name,)
    with pytest.raises(ValueError, match=f"^{name}: received {CHANGES[name]!r}; accepted for a comparison: {name} = "):
        check_comparable(CARD, other)


def test_a_reference_only_has_to_be_read_alike():
    reference = dataclasses.replace(CARD, num_images=30_000, seed=0, image_format="jpeg-95", content="coco")
    check_comparable(CARD, reference, READ_ALIKE)
    check_comparable(CARD, dataclasses.replace(CARD, content="v2"))
    with pytest.raises(ValueError, match="image_format: received 'jpeg-95'; num_images: received 30000; seed"):
        check_comparable(CARD, reference)


def test_the_content_hash_reads_pictures_in_no_order_and_misses_no_change():
    pictures = [("a", "11"), ("b", "22"), ("c", "33")]
    assert content_hash(pictures) == content_hash(reversed(pictures))
    assert content_hash(pictures) != content_hash([("a", "11"), ("b", "22"), ("c", "34")])
    assert content_hash([("a", "1b2")]) != content_hash([("a1", "b2")])
