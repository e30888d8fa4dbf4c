"""Fitting the sample's dual encoder: text tower, then, with that frozen, the image tower; resumable at any moment."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from curation.dual_encoder import EMBED_DIM, build_dual_encoder, save_dual_encoder
from curation.dual_encoder_card import write_model_card
from curation.dual_encoder_data import Pair, TaughtText, read_pairs, read_texts
from curation.dual_encoder_evaluation import Figure, evaluate_dual_encoder
from curation.dual_encoder_heads import ABSTAIN_HIGH, ABSTAIN_LOW, fit_heads
from curation.dual_encoder_image import ImageMaterial, fit_image_tower, start_image_fit
from curation.dual_encoder_pictures import DrawnPictures, draw_pictures, read_named_pictures
from curation.dual_encoder_text import (
    TEACHER_DIM,
    AttributeReadout,
    TextFit,
    fit_text_tower,
    teacher_embeddings,
    training_scene,
)
from curation.dual_encoder_tokenizer import fit_tokenizer
from curation.sample.scene_captions import caption_en, caption_zh

Progress = Callable[[str], None]


class DualEncoderSettings(BaseModel):
    """Where the material stands and how long to work on it; minutes are processor time, summed over threads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs_folder: Path
    prompts_folder: Path
    teacher_folder: Path
    held_out_photos: frozenset[str]
    work_folder: Path
    output_folder: Path
    text_minutes: float = Field(8.0, gt=0)
    image_minutes: float = Field(45.0, gt=0)
    checkpoint_minutes: float = Field(1.5, gt=0)
    num_scenes: int = Field(9000, ge=100)
    num_evaluation_scenes: int = Field(400, ge=20)
    num_texts: int = Field(12000, ge=0, description="captions of photographs that the text tower learns from")
    vocab_size: int = Field(5600, ge=400)
    seed: int = 0


def prepare_torch(seed: int) -> None:
    """Seed torch and switch off the fused attention kernels whose backward pass is slow on CPU."""
    torch.manual_seed(seed)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)


def _corpus(texts: Sequence[TaughtText], seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    scenes = [training_scene(rng) for _ in range(1500)]
    drawn = [told for scene in scenes for told in (caption_en(scene, rng), caption_zh(scene, rng))]
    return [each.text for each in texts] + drawn


def fit_text_stage(settings: DualEncoderSettings, progress: Progress) -> tuple[TextFit, Tokenizer, list[Pair]]:
    """The fitted text tower, from its checkpoint where one stands; the checkpoint makes it final."""
    prepare_torch(settings.seed)
    settings.work_folder.mkdir(parents=True, exist_ok=True)
    pairs = read_pairs(settings.pairs_folder, settings.held_out_photos)
    saved, vocabulary = settings.work_folder / "text.pt", settings.work_folder / "tokenizer.json"
    if saved.is_file():
        tokenizer = Tokenizer.from_file(str(vocabulary))
        fit = _untrained(tokenizer)
        state = torch.load(saved, weights_only=True)
        fit.model.load_state_dict(state["model"])
        fit.readout.load_state_dict(state["readout"])
        fit.to_teacher.load_state_dict(state["to_teacher"])
        progress(f"text tower: taken from {saved}")
        return fit, tokenizer, pairs
    texts = read_texts(pairs, settings.prompts_folder, seed=settings.seed, num_captions=settings.num_texts)
    tokenizer = fit_tokenizer(_corpus(texts, settings.seed), vocab_size=settings.vocab_size)
    tokenizer.save(str(vocabulary))
    targets = _teacher_targets(settings, texts, progress)
    fit = _untrained(tokenizer)
    started = time.process_time()

    def share_done() -> float:
        return (time.process_time() - started) / 60 / settings.text_minutes

    fit_text_tower(
        fit,
        tokenizer,
        texts,
        targets,
        is_time_up=lambda: share_done() >= 1,
        share_done=share_done,
        seed=settings.seed,
        progress=progress,
    )
    state = {"model": fit.model, "readout": fit.readout, "to_teacher": fit.to_teacher}
    save_whole({name: module.state_dict() for name, module in state.items()}, saved)
    save_dual_encoder(fit.model, tokenizer, settings.output_folder)
    progress("text tower: FINAL, its weights do not change from here on")
    return fit, tokenizer, pairs


def _untrained(tokenizer: Tokenizer) -> TextFit:
    model = build_dual_encoder(tokenizer.get_vocab_size())
    return TextFit(model, AttributeReadout(), nn.Linear(EMBED_DIM, TEACHER_DIM, bias=False))


def _teacher_targets(settings: DualEncoderSettings, texts: Sequence[TaughtText], progress: Progress) -> torch.Tensor:
    """Centred, normalised teacher embeddings (N, 384) of the texts' English, kept in the work folder."""
    kept = settings.work_folder / "teacher.pt"
    if kept.is_file():
        found: torch.Tensor = torch.load(kept, weights_only=True)
    else:
        english = sorted({each.english for each in texts})
        progress(f"teacher: {len(english)} texts")
        rows = dict(zip(english, teacher_embeddings(english, settings.teacher_folder), strict=True))
        found = torch.stack([rows[each.english] for each in texts])
        save_whole(found, kept)
    return F.normalize(found - found.mean(0), dim=-1)


def fit_dual_encoder(settings: DualEncoderSettings, progress: Progress) -> list[Figure]:
    """Fit both towers, or go on from what the work folder holds, then publish; the figures.

    May be stopped at any moment: a later call loses at most `checkpoint_minutes`, and `publish_dual_encoder` makes the
    output folder from whatever stands in the work folder, also while this runs in another process.
    """
    fit, tokenizer, pairs = fit_text_stage(settings, progress)
    model = fit.model.eval().requires_grad_(False)
    model.visual.requires_grad_(True)
    material = _image_material(settings, fit, tokenizer, pairs, progress)
    image_fit = start_image_fit(model.visual)
    saved = settings.work_folder / "image.pt"
    if saved.is_file():
        image_fit.restore(saved)
        progress(f"image tower: goes on after step {image_fit.step}, {image_fit.seconds / 60:.1f} minutes")
    fit_image_tower(
        image_fit,
        material,
        minutes=settings.image_minutes,
        seed=settings.seed,
        checkpoint=lambda: save_whole(image_fit.state(), saved),
        progress=progress,
        checkpoint_minutes=settings.checkpoint_minutes,
    )
    return publish_dual_encoder(settings, progress)


def publish_dual_encoder(settings: DualEncoderSettings, progress: Progress) -> list[Figure]:
    """Write the output folder from the latest checkpoint: averaged weights, heads fitted on them, figures, card.

    The heads name the weights' fingerprint, so all of it is made in a folder beside and then copied in file by file.
    """
    fit, tokenizer, pairs = fit_text_stage(settings, progress)
    model = fit.model
    state = torch.load(settings.work_folder / "image.pt", weights_only=True)
    model.visual.load_state_dict(state["average"])
    model.logit_scale.data.copy_(state["logit_scale"])
    progress(f"publishing step {state['step']}, {state['seconds'] / 60:.1f} minutes of image fitting")
    beside = settings.work_folder / "publishing"
    save_dual_encoder(model, tokenizer, beside)
    figures = evaluate_dual_encoder(model, tokenizer, pairs, num_scenes=settings.num_evaluation_scenes)
    figures += fit_heads(beside, pairs, num_drawn=min(settings.num_scenes, 900), seed=settings.seed)
    rows = {
        "image_minutes": state["seconds"] / 60,
        "image_steps": state["step"],
        "figures": [each.row() for each in figures],
    }
    (beside / "figures.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    write_model_card(
        beside,
        figures,
        low=ABSTAIN_LOW,
        high=ABSTAIN_HIGH,
        effort=f"after {state['seconds'] / 60:.0f} core-minutes ({state['step']} steps) of fitting the image tower",
    )
    settings.output_folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(beside.iterdir()):
        shutil.copyfile(file, settings.output_folder / file.name)
    for each in figures:
        progress(f"{each.name}: {each.value:.3f} (chance {each.chance:.2f}, {each.num_pictures} pictures)")
    return figures


def _image_material(
    settings: DualEncoderSettings, fit: TextFit, tokenizer: Tokenizer, pairs: Sequence[Pair], progress: Progress
) -> ImageMaterial:
    progress("pictures: reading and drawing")
    named = read_named_pictures(fit.model, tokenizer, [pair for pair in pairs if pair.part == "train"])
    kept = settings.work_folder / f"drawn_{settings.num_scenes}_{settings.seed}.pt"
    if kept.is_file():
        drawn = DrawnPictures(**torch.load(kept, weights_only=True))
    else:
        drawn = draw_pictures(fit.model, tokenizer, settings.num_scenes, settings.seed)
        save_whole(vars(drawn), kept)
    progress(f"pictures: {len(named.pixels)} named, {len(drawn.pixels)} drawn")
    return ImageMaterial(drawn=drawn, named=named, readout=fit.readout.requires_grad_(False))


def save_whole(value: object, path: Path) -> None:
    """Save with torch so that a reader sees the old file or the new one, never a half of it."""
    unfinished = path.with_suffix(".unfinished")
    torch.save(value, unfinished)
    unfinished.replace(path)
