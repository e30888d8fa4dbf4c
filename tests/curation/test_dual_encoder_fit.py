import csv
import json

import numpy as np
import pytest
import torch

from curation import dual_encoder_image, dual_encoder_views
from curation.dual_encoder_data import CLOTHING_EN
from curation.dual_encoder_fit import (
    DualEncoderSettings,
    assembled_folder,
    fit_dual_encoder,
    fit_text_stage,
    publish_scorer,
)
from curation.sample.photographs import photograph_crops
from curation.sample.scene_captions import COLOURS_ZH, KINDS_ZH
from curation.sample.scenes import COLOURS, KINDS, Scene, Thing, draw
from curation.torchvision_ops import declare_missing_ops


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Pairs, prompts and a teacher in the folders' real formats, tiny: drawn 'emoji', photograph crops, random BERT."""
    root = tmp_path_factory.mktemp("material")
    rows = []
    for colour in COLOURS:
        for kind in KINDS:
            for source, style in (("emoji_noto", "flat"), ("emoji_fluent3d", "shaded")):
                rows.append(
                    (f"{source}/{colour}-{kind}.png", [f"{colour} {kind}"], [COLOURS_ZH[colour] + KINDS_ZH[kind][1]])
                )
                path = root / "images" / rows[-1][0]
                path.parent.mkdir(parents=True, exist_ok=True)
                draw(Scene("white", style, (Thing(kind, colour),)), (32, 32)).save(path)
    for number, crop in enumerate(photograph_crops((1.0,))):
        rows.append((f"photos_coco/{number:012d}.jpg", list(crop.photograph.captions_en), []))
        for copy in range(3):
            name = list(CLOTHING_EN)[number % 10]
            rows.append((f"photos_clothing/{name}/{number}-{copy}.jpg", ["a photo"], []))
        for name, _, _ in rows[-4:]:
            path = root / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            crop.image.resize((48, 48)).save(path)
    lines = [json.dumps({"path": path, "kind": "photo", "captions_en": en, "captions_zh": zh}) for path, en, zh in rows]
    (root / "pairs.jsonl").write_text("\n".join(lines))
    captions = [{"image_id": at, "captions": [f"a photo of number {at} among many others"]} for at in range(40)]
    (root / "coco_val2017_captions.jsonl").write_text("\n".join(map(json.dumps, captions)))
    (root / "coco_zh_en_pairs.jsonl").write_text(json.dumps({"image_id": 900, "zh": "一只猫", "en": "a cat"}))
    with (root / "PartiPrompts.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([["Prompt", "Category"], ["a cat on a mat in the morning sun", "x"]])
    return root


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    declare_missing_ops()
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("teacher")
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=384, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def settings(material, teacher, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    return DualEncoderSettings(
        pairs_folder=material,
        prompts_folder=material,
        teacher_folder=teacher,
        held_out_photos=frozenset({"000000000001.jpg", "000000000002.jpg"}),
        work_folder=work,
        shared_folder=work,
        text_steps=3,
        image_steps=2,
        finish_steps=1,
        checkpoint_every=2,
        num_scenes=100,
        num_evaluation_scenes=20,
        num_texts=40,
        vocab_size=600,
    )


def teach(pictures):
    """A teacher of mean colours: small, but it says something true of each picture."""
    return np.stack([picture.reshape(4, 56, 4, 56, 3).mean((1, 3)).ravel() for picture in pictures]).astype(np.float32)


@pytest.mark.timeout(600)
def test_fitting_publishes_a_scorer_with_heads_and_goes_on_where_it_stood(settings, monkeypatch):
    from curation.aesthetic_scorer import AestheticScorer
    from curation.cartoon_classifier import CartoonClassifier
    from curation.clip_scorer import ClipScorer

    for name in ("COCO_CROPS", "CLOTHING_CROPS", "NUM_MIXED", "NUM_PASTED", "NUM_STYLISED", "NUM_SCREENSHOTS"):
        monkeypatch.setattr(dual_encoder_views, name, 6)
    monkeypatch.setattr(dual_encoder_image, "SETTLING_BATCHES", 1)
    told = []
    figures = fit_dual_encoder(settings, teach, told.append)
    published = settings.work_folder / "published"
    publish_scorer([assembled_folder(settings)] * 2, published)
    names = {each.name for each in figures}
    assert {"clothing, 10-way accuracy, zh", "COCO photos, matching AUC, en"} <= names
    assert all(0 <= each.value <= 1 and (each.num_pictures > 0 or "decided" in each.name) for each in figures)
    scorer = ClipScorer(published)
    embeddings = scorer.embed_texts(["a red ball", "一个红色的球"])
    for head in (AestheticScorer, CartoonClassifier):
        file = "aesthetic_head" if head is AestheticScorer else "cartoon_head"
        values = head.load(published / f"{file}.safetensors", scorer.fingerprint)(embeddings)
        assert np.isfinite(values).all()
    card = (published / "README.md").read_text(encoding="utf-8")
    assert "Seeds: 2; the worst counts" in card
    assert "proxy for technical quality, not taste" in card

    before = torch.load(settings.work_folder / "image.pt", weights_only=True)
    text_before = torch.load(settings.work_folder / "text.pt", weights_only=True)["model"]
    fit_dual_encoder(settings.model_copy(update={"finish_steps": 3}), teach, told.append)
    after = torch.load(settings.work_folder / "image.pt", weights_only=True)
    assert (before["step"], after["step"]) == (3, 5)
    assert any("goes on after step" in line for line in told)
    model = fit_text_stage(settings, told.append)[0].model
    for name, value in model.text.state_dict().items():
        assert torch.equal(value, text_before["text." + name])
