"""Fitting the sample's dual encoder: text tower, then, with that frozen, the image tower; resumable at any moment."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from curation.dual_encoder import EMBED_DIM, build_dual_encoder, save_dual_encoder
from curation.dual_encoder_batches import ImageMaterial
from curation.dual_encoder_card import write_model_card
from curation.dual_encoder_data import Pair, TaughtText, read_pairs, read_texts
from curation.dual_encoder_evaluation import Figure, evaluate_dual_encoder
from curation.dual_encoder_heads import ABSTAIN_HIGH, ABSTAIN_LOW, fit_heads
from curation.dual_encoder_image import fit_image_tower, start_image_fit
from curation.dual_encoder_pictures import DrawnPictures, caption_centres, draw_pictures, read_named_pictures
from curation.dual_encoder_teachers import fit_caption_space, fit_clothing_teacher
from curation.dual_encoder_text import (
    TEACHER_DIM,
    AttributeReadout,
    TextFit,
    fit_text_tower,
    teacher_embeddings,
    training_scene,
)
from curation.dual_encoder_tokenizer import fit_tokenizer
from curation.dual_encoder_views import PictureTeacher, TaughtViews, make_views
from curation.sample.scene_captions import caption_en, caption_zh

Progress = Callable[[str], None]


class DualEncoderSettings(BaseModel):
    """Where the material stands and how long to work on it. `shared_folder` keeps what does not depend on the seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs_folder: Path
    prompts_folder: Path
    teacher_folder: Path
    held_out_photos: frozenset[str]
    work_folder: Path
    shared_folder: Path
    text_steps: int = Field(650, ge=1)
    image_steps: int = Field(6000, ge=1)
    finish_steps: int = Field(800, ge=0, description="after them, with emoji ranked across each other")
    checkpoint_every: int = Field(200, ge=1, description="steps of the image tower")
    num_scenes: int = Field(5000, ge=100)
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
    fit_text_tower(fit, tokenizer, texts, targets, steps=settings.text_steps, seed=settings.seed, progress=progress)
    state = {"model": fit.model, "readout": fit.readout, "to_teacher": fit.to_teacher}
    save_whole({name: module.state_dict() for name, module in state.items()}, saved)
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


def fit_dual_encoder(settings: DualEncoderSettings, teach: PictureTeacher, progress: Progress) -> list[Figure]:
    """Fit both towers, or go on from what the work folder holds, then assemble the scorer there; its figures.

    teach: the photographs' teacher, asked once a shared folder. May be stopped at any moment: a later call loses the text
    tower's minutes or at most `checkpoint_every` steps of the image tower.
    """
    fit, tokenizer, pairs = fit_text_stage(settings, progress)
    model = fit.model.eval().requires_grad_(False)
    model.visual.requires_grad_(True)
    torch.manual_seed(settings.seed)
    image_fit = start_image_fit(model.visual)
    saved = settings.work_folder / "image.pt"
    if saved.is_file():
        image_fit.restore(saved)
        progress(f"image tower: goes on after step {image_fit.step}, {image_fit.seconds / 60:.1f} core-minutes")
    if image_fit.step < settings.image_steps + settings.finish_steps:
        fit_image_tower(
            image_fit,
            _image_material(settings, fit, tokenizer, pairs, teach, progress),
            steps=settings.image_steps,
            finish_steps=settings.finish_steps,
            seed=settings.seed,
            checkpoint=lambda: save_whole(image_fit.state(), saved),
            progress=progress,
            checkpoint_every=settings.checkpoint_every,
        )
    return assemble_scorer(settings, progress)


def assembled_folder(settings: DualEncoderSettings) -> Path:
    """Where `assemble_scorer` writes."""
    return settings.work_folder / "scorer"


def assemble_scorer(settings: DualEncoderSettings, progress: Progress) -> list[Figure]:
    """Weights, heads and `figures.json` from the latest checkpoint, also beside a fit that is running.

    Weights are the running average; the heads are fitted on them and name their fingerprint.
    """
    fit, tokenizer, pairs = fit_text_stage(settings, progress)
    model = fit.model
    state = torch.load(settings.work_folder / "image.pt", weights_only=True)
    model.visual.load_state_dict(state["average"])
    model.logit_scale.data.copy_(state["logit_scale"])
    progress(f"assembling step {state['step']}, {state['seconds'] / 60:.1f} core-minutes of image fitting")
    folder = assembled_folder(settings)
    save_dual_encoder(model, tokenizer, folder)
    figures = evaluate_dual_encoder(model, tokenizer, pairs, num_scenes=settings.num_evaluation_scenes)
    figures += fit_heads(folder, pairs, num_drawn=min(settings.num_scenes, 900), seed=settings.seed)
    rows = {
        "seed": settings.seed,
        "text_steps": settings.text_steps,
        "image_steps": state["step"],
        "image_core_minutes": round(state["seconds"] / 60, 1),
        "figures": [each.row() for each in figures],
    }
    (folder / "figures.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    for each in figures:
        progress(
            f"seed {settings.seed}, {each.name}: {each.value:.3f} (chance {each.chance:.2f}, {each.num_pictures} pictures)"
        )
    return figures


def publish_scorer(folders: Sequence[Path], output: Path) -> None:
    """Copy the first assembled scorer to `output`, with a card that gives every figure for all of `folders`' seeds."""
    output.mkdir(parents=True, exist_ok=True)
    for file in sorted(folders[0].iterdir()):
        if file.name not in ("README.md", "figures.json"):
            shutil.copyfile(file, output / file.name)
    seeds = [json.loads((folder / "figures.json").read_text(encoding="utf-8")) for folder in folders]
    (output / "figures.json").write_text(json.dumps(seeds, indent=1) + "\n", encoding="utf-8")
    write_model_card(output, seeds, low=ABSTAIN_LOW, high=ABSTAIN_HIGH)


def _image_material(
    settings: DualEncoderSettings,
    fit: TextFit,
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
    teach: PictureTeacher,
    progress: Progress,
) -> ImageMaterial:
    settings.shared_folder.mkdir(parents=True, exist_ok=True)
    kept = settings.shared_folder / "views.pt"
    if kept.is_file():
        views = TaughtViews(**torch.load(kept, weights_only=True, mmap=True))
    else:
        progress("views: asking the photographs' teacher")
        views = make_views([pair for pair in pairs if pair.part == "train"], teach, seed=0)
        save_whole(vars(views), kept)
    progress("pictures: reading and drawing")
    training_pairs = [pair for pair in pairs if pair.part == "train"]
    named = read_named_pictures(fit.model, tokenizer, training_pairs)
    caption_space = fit_caption_space(views, caption_centres(fit.model, tokenizer, training_pairs))
    clothing = fit_clothing_teacher(fit.model, tokenizer, training_pairs, views)
    kept = settings.work_folder / f"drawn_{settings.num_scenes}_{settings.seed}.pt"
    if kept.is_file():
        drawn = DrawnPictures(**torch.load(kept, weights_only=True))
    else:
        drawn = draw_pictures(fit.model, tokenizer, settings.num_scenes, settings.seed)
        save_whole(vars(drawn), kept)
    progress(f"pictures: {len(named.pixels)} named, {len(drawn.pixels)} drawn, {len(views.pixels)} views")
    return ImageMaterial(drawn, named, views, fit.readout.requires_grad_(False), caption_space, clothing)


def save_whole(value: object, path: Path) -> None:
    """Save with torch so that a reader sees the old file or the new one, never a half of it."""
    unfinished = path.with_suffix(".unfinished")
    torch.save(value, unfinished)
    unfinished.replace(path)
