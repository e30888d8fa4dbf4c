import pytest

from curation.sample.photographs import PHOTOGRAPHS, crop_box, photograph_crops


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda photograph: photograph.name)
def test_every_photograph_is_installed_and_captioned_twice(photograph):
    image = photograph.open()
    assert image.mode == "RGB"
    assert min(image.size) >= 300
    assert len(photograph.captions_en) == len(photograph.captions_zh) >= 2
    assert all(text.isascii() for text in photograph.captions_en)
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in text) for text in photograph.captions_zh)


def test_crops_hold_the_subject_and_have_the_aspect():
    box = crop_box((400, 200), (0.6, 0.1, 0.9, 0.9), 1.0)
    assert box == (200, 0, 400, 200)
    assert crop_box((400, 200), (0.1, 0.1, 0.9, 0.9), 1.0) is None


def test_there_are_crops_of_several_shapes():
    crops = list(photograph_crops())
    assert len(crops) > 45
    assert {crop.photograph.name for crop in crops} == {photograph.name for photograph in PHOTOGRAPHS}
    for crop in crops:
        assert crop.image.width / crop.image.height == pytest.approx(crop.aspect, rel=0.03)
        assert max(crop.image.size) <= 512
