import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from curation.clip_scorer import ClipScorer, clip_fingerprint, resolve_clip_folder
from curation.errors import ScorerError
from curation.scoring import caption_similarities, score_part


def test_embeddings_are_unit_vectors_of_the_width(scorer, make_picture) -> None:
    embeddings = scorer.embed_images([make_picture(seed) for seed in range(3)])
    assert (embeddings.shape, embeddings.dtype) == ((3, 32), np.float32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-6)
    assert scorer.embed_images([]).shape == (0, 32)
    assert scorer.embed_texts([]).shape == (0, 32)


def test_arrays_and_pictures_agree(scorer, make_picture) -> None:
    pictures = [make_picture(seed) for seed in range(3)]
    stacked = np.stack([np.asarray(picture) for picture in pictures])
    assert np.array_equal(scorer.embed_images(stacked), scorer.embed_images(pictures))


def test_result_equals_the_model_itself(scorer, clip_folder, make_picture) -> None:
    import open_clip

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    with torch.inference_mode():
        picture = model.eval().encode_image(preprocess(make_picture(0))[None], normalize=True)
        text = model.encode_text(open_clip.get_tokenizer(f"local-dir:{clip_folder}")(["a cat 猫"]), normalize=True)
    np.testing.assert_allclose(scorer.embed_images([make_picture(0)]), picture.numpy(), atol=1e-5)
    np.testing.assert_allclose(scorer.embed_texts(["a cat 猫"]), text.numpy(), atol=1e-5)


@pytest.mark.reliability(6)
def test_a_row_does_not_depend_on_its_batch(scorer, make_picture) -> None:
    pictures = [make_picture(seed) for seed in range(19)]
    texts = [f"text {seed} 猫" for seed in range(19)]
    together, said = scorer.embed_images(pictures), scorer.embed_texts(texts)
    order = np.random.default_rng(0).permutation(19)
    assert np.array_equal(scorer.embed_images([pictures[i] for i in order]), together[order])
    assert np.array_equal(scorer.embed_texts([texts[i] for i in order]), said[order])
    for index in (0, 7, 18):
        assert np.array_equal(scorer.embed_images([pictures[index]])[0], together[index])
        assert np.array_equal(scorer.embed_texts([texts[index]])[0], said[index])


def test_fingerprint_is_of_tensors_and_configuration(clip_folder, tmp_path, scorer) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(clip_folder, copy)
    weights = load_file(copy / "open_clip_model.safetensors")
    save_file(dict(reversed(weights.items())), copy / "open_clip_model.safetensors", metadata={"note": "other"})
    assert clip_fingerprint(copy) == scorer.fingerprint
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.4, 0.5, 0.5]
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    assert clip_fingerprint(copy) != scorer.fingerprint
    shutil.copy(clip_folder / "open_clip_config.json", copy)
    weights["logit_scale"] = weights["logit_scale"] + 1
    save_file(weights, copy / "open_clip_model.safetensors")
    assert clip_fingerprint(copy) != scorer.fingerprint


@pytest.mark.reliability(18)
def test_unusable_sources_say_what_to_do(clip_folder, tmp_path) -> None:
    with pytest.raises(ScorerError, match=r"no open_clip_config.json"):
        resolve_clip_folder(tmp_path)
    shutil.copy(clip_folder / "open_clip_config.json", tmp_path)
    with pytest.raises(ScorerError, match=r"no open_clip_model.safetensors"):
        resolve_clip_folder(tmp_path)
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ScorerError, match=r"python -m curation.convert_weights .*open_clip_pytorch_model.bin"):
        ClipScorer(tmp_path)
    with pytest.raises(ScorerError, match="name a revision"):
        ClipScorer("hf-hub:laion/some-model")
    with pytest.raises(ValueError, match="precision must be one of fp32, fp16, bf16"):
        ClipScorer(clip_folder, precision="int8")
    with pytest.raises(ValueError, match="batch_size"):
        ClipScorer(clip_folder, batch_size=0)


def test_reduced_precision_stays_close(clip_folder, scorer, make_picture) -> None:
    reduced = ClipScorer(clip_folder, precision="bf16", batch_size=8)
    one, other = (model.embed_images([make_picture(0)])[0] for model in (scorer, reduced))
    assert one @ other > 0.99
    assert reduced.version != scorer.version


def test_caption_similarity_is_the_best_caption(scorer, make_picture) -> None:
    embeddings = scorer.embed_images([make_picture(0), make_picture(1)])
    first, second = caption_similarities(embeddings, [["a cat", "a dog"], None], scorer)
    assert second is None
    assert first == pytest.approx((scorer.embed_texts(["a cat", "a dog"]) @ embeddings[0]).max(), abs=1e-6)


def test_a_picture_that_became_unreadable_is_a_row(scorer, heads, make_picture, encode) -> None:
    import pyarrow as pa

    from curation.records import IMAGES

    blank = dict.fromkeys(IMAGES.names)
    rows = [
        blank | {"key": "a", "image": {"bytes": encode(make_picture(0)), "path": "a.png"}, "captions_en": ["a"]},
        blank | {"key": "b", "image": {"bytes": b"rotten", "path": "b.png"}},
        blank | {"key": "c", "reason": "http_error"},
    ]
    scores = score_part(pa.Table.from_pylist(rows, schema=IMAGES), scorer, *heads).to_pylist()
    assert [row["reason"] for row in scores] == [None, "unknown_format", "http_error"]
    assert scores[1]["clip_embedding"] is None
    assert 0.0 < scores[0]["mean_luma"] < 1.0
    assert scores[0]["caption_similarity_zh"] is None
    assert "aesthetic:tiny-aesthetic" in scores[0]["scorer"]
