import json

import numpy as np
from PIL import Image

from curation.sample.shared_pictures import square_pictures


def test_pictures_become_distinct_small_squares_on_white(tmp_path):
    (tmp_path / "images").mkdir()
    wide = Image.new("RGB", (60, 20), "red")
    wide.paste("blue", (20, 0, 40, 20))
    wide.save(tmp_path / "images" / "wide.png")
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(tmp_path / "images" / "clear.png")
    names = ["wide.png", "clear.png"]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps({"path": name}) + "\n" for name in names), "utf-8")
    found = square_pictures(tmp_path, 5, 8, seed=0)
    assert found.shape == (2, 8, 8, 3)
    by_mean = sorted(found, key=np.mean)
    assert (by_mean[0] == (0, 0, 255)).all()
    assert (by_mean[1] == 255).all()
