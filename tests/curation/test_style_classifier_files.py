"""The published head gives the scaled logit, is named by its content, and is written again only when it has changed."""

import numpy as np
import pytest

from curation.abstain_band import BandSettings
from curation.calibration_report import HeldOut, calibrate
from curation.cartoon_classifier import CartoonClassifier
from curation.errors import ScorerError
from curation.head_fitting import FittedHead
from curation.linear_head import load_head, write_head
from curation.style_classifier_files import publish_head

CLIP = "c" * 64


@pytest.fixture(scope="module")
def calibration():
    """Of logits that are too large: two unit normals at 1.5 and -1.5 have the logit 3 x, times 3."""
    rng = np.random.default_rng(0)
    truth = rng.random(1200) < 0.4
    logits = 9 * rng.normal(np.where(truth, 1.5, -1.5))
    units, labels = np.arange(1200), ["a" if one else "b" for one in truth]
    held = HeldOut(
        [str(at) for at in units], logits, logits, truth, units % 5, units, labels, [None] * 1200, [None] * 1200
    )
    return calibrate(held, BandSettings(precision=0.9))


def test_the_heads_value_is_the_scaled_logit_and_its_band_the_chosen_one(calibration, tmp_path):
    rng = np.random.default_rng(1)
    head = FittedHead(rng.normal(size=(1, 8)).astype(np.float32), np.array([0.5], np.float32))
    rows = rng.normal(size=(20, 8)).astype(np.float32)
    published = publish_head(tmp_path, "\u6f2b\u753b / comic", head, calibration, CLIP)
    loaded = load_head(published.path, CLIP)
    expected = calibration.scale.slope * head(rows).astype(np.float64) + calibration.scale.offset
    np.testing.assert_allclose(loaded(rows), expected, rtol=1e-4, atol=1e-5)
    assert calibration.scale.slope == pytest.approx(1 / 3, abs=0.06), "and the scale is not nothing"
    classifier = CartoonClassifier.load(published.path, CLIP)
    assert (classifier.low, classifier.high) == (calibration.band.low, calibration.band.high)
    assert published.path.name == "\u6f2b\u753b_comic_head.safetensors" and loaded.version == published.version
    written = published.path.stat().st_ino
    assert publish_head(tmp_path, "\u6f2b\u753b / comic", head, calibration, CLIP) == published
    assert published.path.stat().st_ino == written
    other = FittedHead(head.weight, head.bias + 1)
    assert publish_head(tmp_path, "\u6f2b\u753b / comic", other, calibration, CLIP).version != published.version
    assert published.path.stat().st_ino != written


def test_a_head_without_a_band_has_the_samples_and_a_broken_one_is_named(tmp_path):
    layer = (np.ones((1, 4), np.float32), np.zeros(1, np.float32))
    write_head(tmp_path / "plain.safetensors", [layer], CLIP, "v")
    plain = CartoonClassifier.load(tmp_path / "plain.safetensors", CLIP)
    assert (plain.low, plain.high) == (0.3, 0.7)
    write_head(tmp_path / "odd.safetensors", [layer], CLIP, "v", {"abstain_low": "a third"})
    with pytest.raises(ScorerError, match=r"metadata abstain_low is 'a third', accepted is a number in"):
        CartoonClassifier.load(tmp_path / "odd.safetensors", CLIP)
    with pytest.raises(ScorerError, match=r"is a folder; name the file in it \(there: odd.safetensors, plain"):
        load_head(tmp_path, CLIP)
