"""Fitting the sample's dual encoder: text tower, then, with that frozen, the image tower; resumable at any moment."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from curation.dual_encoder import EMBED_DIM, build_dual_encoder, save_dual_encoder
from curation.dual_encoder_data import Pair, TaughtText, read_pairs, read_texts
from curation.dual_encoder_evaluation import Figure, evaluate_dual_encoder
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
    num_scenes: int = Field(9000, ge=100)
    seed: int = 0


def prepare_torch(seed: int) -> None:
    """Seed torch and switch off the fused attention kernels whose backward pass is slow on CPU."""
    torch.manual_seed(seed)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)


def _corpus(texts: Sequence[TaughtText], seed: int) -> list[str]:
    import numpy as np

    from curation.sample.scene_captions import caption_en, caption_zh

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
    texts = read_texts(pairs, settings.prompts_folder, seed=settings.seed)
    tokenizer = fit_tokenizer(_corpus(texts, settings.seed))
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
    """Fit both towers, or go on from what the work folder holds, and write the output folder; the final figures.

    The output folder holds a usable model from the end of the text stage on and is renewed at every checkpoint.
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
    latest: list[Figure] = []

    def checkpoint() -> None:
        save_whole(image_fit.state(), saved)
        averaged = build_dual_encoder(tokenizer.get_vocab_size())
        averaged.load_state_dict(model.state_dict())
        averaged.get_submodule("visual").load_state_dict(image_fit.average)
        averaged.get_parameter("logit_scale").data.copy_(image_fit.logit_scale.detach())
        is_over = image_fit.seconds >= settings.image_minutes * 60
        latest[:] = evaluate_dual_encoder(averaged, tokenizer, pairs, num_scenes=600 if is_over else 150)
        save_dual_encoder(averaged, tokenizer, settings.output_folder)
        rows = {"minutes": image_fit.seconds / 60, "step": image_fit.step, "figures": [each.row() for each in latest]}
        (settings.output_folder / "figures.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        progress("; ".join(f"{each.name} {each.value:.3f}" for each in latest))

    fit_image_tower(
        image_fit,
        material,
        minutes=settings.image_minutes,
        seed=settings.seed,
        checkpoint=checkpoint,
        progress=progress,
    )
    return latest


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
