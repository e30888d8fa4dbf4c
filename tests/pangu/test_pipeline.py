import pytest
import torch

from pangu.checkpoint import ExpertIdentity
from pangu.errors import ExpertMismatchError
from pangu.pipeline import ExpertsCard, PanGuDrawPipeline, load_experts, pair_split, read_card
from pangu.time_range import Role, TimeRange


def test_a_folder_comes_back_as_it_was(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    again = load_experts(tmp_path)
    assert again.card.digests.keys() == {"structure", "texture", "vae", "text_encoder"}
    assert again.card.model_copy(update={"digests": {}}) == pipeline.card
    for name in ("structure", "texture", "vae", "text_encoder"):
        ours, theirs = getattr(pipeline, name).state_dict(), getattr(again, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    texts = ["a red ball", "红色的球"]
    assert torch.equal(again.text.encode(texts).tokens, pipeline.text.encode(texts).tokens)
    assert "[500, 1000)" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_pair_read_from_anywhere_is_saved_as_the_same_files(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "here")
    load_experts(tmp_path / "here").save_pretrained(tmp_path / "there")
    here, there = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "here", tmp_path / "there")
    )
    assert here == there


def test_half_precision_folders_load_as_float32(pipeline, tmp_path):
    pipeline.to(torch.float16)
    pipeline.save_pretrained(tmp_path)
    pipeline.to(torch.float32)
    assert {p.dtype for p in load_experts(tmp_path).structure.parameters()} == {torch.float32}


def test_experts_swapped_on_disk_are_refused(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    (tmp_path / "structure").rename(tmp_path / "other")
    (tmp_path / "texture").rename(tmp_path / "structure")
    (tmp_path / "other").rename(tmp_path / "texture")
    with pytest.raises(ExpertMismatchError, match="structure, texture"):
        load_experts(tmp_path)


def test_a_folder_without_a_card_is_refused(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    (tmp_path / "experts.json").unlink()
    with pytest.raises(ExpertMismatchError, match=r"experts\.json"):
        load_experts(tmp_path)


def test_a_newer_card_is_refused(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    path = tmp_path / "experts.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(ExpertMismatchError, match="format_version"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"role": Role.STRUCTURE}, "role"),
        ({"time_range": TimeRange(start=0, stop=400)}, "time_range"),
        ({"prediction_type": "v_prediction"}, "prediction_type"),
        ({"buckets": ()}, "buckets"),
        ({"num_timesteps": 999}, "num_timesteps"),
    ],
)
def test_experts_that_do_not_belong_together_are_refused(pipeline, change, field):
    card: ExpertsCard = pipeline.card
    texture = ExpertIdentity.model_validate(card.texture.model_dump() | change)
    with pytest.raises(ExpertMismatchError, match=field):
        pair_split(card.structure, texture)


def test_a_gap_between_the_ranges_is_refused(pipeline):
    card: ExpertsCard = pipeline.card
    late = card.structure.model_copy(update={"time_range": TimeRange(start=501, stop=1000)})
    with pytest.raises(ExpertMismatchError, match="tile"):
        pair_split(late, card.texture)


def test_sides_that_the_networks_cannot_halve_are_refused(pipeline):
    card: ExpertsCard = pipeline.card
    odd = card.buckets[0].model_copy(update={"structure": (36, 128)})
    buckets = (odd, *card.buckets[1:])
    pair = {name: getattr(card, name).model_copy(update={"buckets": buckets}) for name in ("structure", "texture")}
    modules = {name: getattr(pipeline, name) for name in ("structure", "texture", "vae", "text_encoder")}
    with pytest.raises(ExpertMismatchError, match="row 0"):
        PanGuDrawPipeline.build(modules, card.model_copy(update=pair))
