"""The published safety classifier on real photographs, and what happens when it is not there."""

import numpy as np
import pytest
from PIL import Image

from pangu.output_filter import load_filter

FACTORY = "pangu.nsfw_filter:make_filter"


@pytest.mark.shared_data
def test_photographs_are_neutral_and_a_threshold_blocks(shared_data):
    weights = shared_data / "weights" / "nsfwjs-mobilenet"
    paths = sorted((shared_data / "images" / "photos_coco").glob("*.jpg"))[:40]
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    verdicts = load_filter(FACTORY, weights, {})(images)
    best = [max(verdict.scores, key=verdict.scores.get) for verdict in verdicts]
    assert best.count("Neutral") >= 32 and all(abs(sum(v.scores.values()) - 1) < 1e-5 for v in verdicts)
    strict = load_filter(FACTORY, weights, {"Neutral": 0.5})
    blocked = [verdict.blocked for verdict in strict(images)]
    assert sum(reason is not None for reason in blocked) >= 30 and strict.name.startswith("nsfwjs mobilenet_v2 ")
    assert strict([]) == []


def test_a_filter_that_is_not_there_stops_the_run(tmp_path):
    with pytest.raises(ValueError, match="weights: not given"):
        load_filter(FACTORY, None, {})
    with pytest.raises(ValueError, match="is not the NSFWJS model"):
        load_filter(FACTORY, tmp_path, {})
    with pytest.raises(ValueError, match=r"thresholds: got Fun = 0\.5; accepted are 0 to 1 for Drawing"):
        load_filter(FACTORY, tmp_path, {"Fun": 0.5})
    with pytest.raises(ValueError, match="accepted is module:name"):
        load_filter("pangu.nsfw_filter", tmp_path, {})
    (tmp_path / "model.json").write_text('{"modelTopology": {"model_config": {"config": {"layers": []}}}}')
    with pytest.raises(ValueError, match="is not the NSFWJS model"):
        load_filter(FACTORY, tmp_path, {})
