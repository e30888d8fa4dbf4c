"""What the dual encoder can tell apart on pairs kept from it, every figure beside its chance level."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from curation.calibration import area_under_curve
from curation.dual_encoder import IMAGE_SIDE_PX, encode_texts, normalised_pixels
from curation.dual_encoder_data import Pair, clothing_prompts, read_picture
from curation.dual_encoder_pictures import squashed_scene
from curation.sample.scene_captions import Language, caption, is_held_out, near_misses
from curation.sample.scenes import COLOURS, HIDDEN_BY, KINDS, Scene, random_scene

LANGUAGES: tuple[Language, Language] = ("en", "zh")
NEAR_NAME_COSINE = 0.7


@dataclass(frozen=True)
class Figure:
    """One measured value, what guessing would reach, and how many pictures it rests on."""

    name: str
    value: float
    chance: float
    num_pictures: int
    lower_is_better: bool = False

    def row(self) -> dict[str, object]:
        """The figure as a plain row."""
        return asdict(self)


@torch.no_grad()
def embed_pictures(model: nn.Module, pictures: torch.Tensor, *, batch: int = 128) -> torch.Tensor:
    """Normalised image embeddings (N, 256) of uint8 pictures (N, 3, 96, 96); the model must be in eval mode."""
    encode: Callable[[torch.Tensor], torch.Tensor] = model.visual  # type: ignore[assignment]
    found = [encode(normalised_pixels(pictures[at : at + batch])) for at in range(0, len(pictures), batch)]
    return F.normalize(torch.cat(found), dim=-1)


def read_on_white(pairs: Sequence[Pair]) -> torch.Tensor:
    """The pictures of `pairs` on white, uint8 (N, 3, 96, 96)."""
    pixels = np.stack([read_picture(pair.path, IMAGE_SIDE_PX) for pair in pairs]).astype(np.float32)
    alpha = pixels[..., 3:] / 255
    return torch.from_numpy(pixels[..., :3] * alpha + 255 * (1 - alpha)).permute(0, 3, 1, 2).round().to(torch.uint8)


def matching_auc(images: torch.Tensor, texts: torch.Tensor, owners: torch.Tensor) -> float:
    """AUC of cosines of images (N, 256) with their own texts (owner index per text) against all others."""
    cosines = images @ texts.T
    is_own = owners[None, :] == torch.arange(len(images))[:, None]
    return area_under_curve(cosines.flatten().numpy(), is_own.flatten().numpy())


def _captions_of(pairs: Sequence[Pair], language: str) -> tuple[list[str], torch.Tensor]:
    told = [pair.captions_en if language == "en" else pair.captions_zh for pair in pairs]
    owners = [index for index, texts in enumerate(told) for _ in texts]
    return [text for texts in told for text in texts], torch.tensor(owners)


def _natural_figures(model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> list[Figure]:
    figures = []
    known = sorted({pair.captions_en[0] for pair in pairs if pair.source.startswith("emoji") and pair.part == "train"})
    known_embeddings = encode_texts(model, tokenizer, known)
    for part, source in (("held_out", "photos_coco"), ("held_out_style", "emoji"), ("held_out_concept", "emoji")):
        chosen = [pair for pair in pairs if pair.part == part and pair.source.startswith(source)]
        if not chosen:
            continue
        images = embed_pictures(model, read_on_white(chosen))
        name = (
            "COCO photos"
            if source == "photos_coco"
            else f"emoji, {part.replace('_', ' ').replace('held out ', 'unseen ')}"
        )
        for language in LANGUAGES if source == "emoji" else LANGUAGES[:1]:
            texts, owners = _captions_of(chosen, language)
            auc = matching_auc(images, encode_texts(model, tokenizer, texts), owners)
            figures.append(Figure(f"{name}, matching AUC, {language}", auc, 0.5, len(chosen)))
        if part == "held_out_concept":
            names = encode_texts(model, tokenizer, [pair.captions_en[0] for pair in chosen])
            is_near = (names @ known_embeddings.T).max(1).values >= NEAR_NAME_COSINE
            for told, kept in (("near", is_near), ("far from", ~is_near)):
                if not kept.any():
                    continue
                cosines = images[kept] @ names.T
                own = torch.eye(len(chosen), dtype=torch.bool)[kept]
                auc = area_under_curve(cosines.flatten().numpy(), own.flatten().numpy())
                figures.append(Figure(f"{name}, name {told} a known one, matching AUC, en", auc, 0.5, int(kept.sum())))
    return figures


def _clothing_figures(model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> list[Figure]:
    chosen = [pair for pair in pairs if pair.part == "held_out" and pair.source == "photos_clothing"]
    if not chosen:
        return []
    images = embed_pictures(model, read_on_white(chosen))
    prompts = clothing_prompts()
    classes = prompts["concept"]
    labels = torch.tensor([classes.index(pair.concept) for pair in chosen])
    return [
        Figure(
            f"clothing, 10-way accuracy, {language}",
            float(((images @ encode_texts(model, tokenizer, prompts[language]).T).argmax(1) == labels).float().mean()),
            1 / len(classes),
            len(chosen),
        )
        for language in LANGUAGES
    ]


def _alternatives(scene: Scene, respect: str, rng: np.random.Generator) -> list[Scene]:
    """Every scene that differs in one respect, the near miss alone where there is only one."""
    first, rest = scene.things[0], scene.things[1:]
    taken = {each.colour for each in rest} | {HIDDEN_BY.get(scene.background, "")}
    if respect == "colour":
        changed = [replace(first, colour=colour) for colour in COLOURS if colour not in {first.colour, *taken}]
    elif respect == "shape":
        changed = [replace(first, kind=kind) for kind in KINDS if kind not in {first.kind, *(t.kind for t in rest)}]
    elif respect == "count":
        if rest or scene.side is not None or (first.count == 1 and first.size != "medium"):
            return []
        changed = [replace(first, count=count) for count in (1, 2, 3) if count != first.count]
    else:
        found = near_misses(scene, rng)
        return [found[respect]] if respect in found else []
    return [replace(scene, things=(thing, *rest)) for thing in changed]


def _drawn_figures(model: nn.Module, tokenizer: Tokenizer, num_scenes: int, seed: int) -> list[Figure]:
    rng = np.random.default_rng(seed)
    scenes: list[Scene] = []
    while len(scenes) < num_scenes:
        scene = random_scene(rng)
        if is_held_out(scene):
            scenes.append(scene)
    pictures = np.stack([np.asarray(squashed_scene(scene, 1.0, 10**6 + at)) for at, scene in enumerate(scenes)])
    images = embed_pictures(model, torch.from_numpy(pictures).permute(0, 3, 1, 2))
    figures = []
    for respect in ("background", "colour", "shape", "count", "side", "binding", "relation"):
        options = [_alternatives(scene, respect, rng) for scene in scenes]
        able = [at for at, found in enumerate(options) if found]
        if not able:
            continue
        for language in LANGUAGES:
            texts = [caption(each, language, rng) for at in able for each in (scenes[at], *options[at])]
            embeddings = iter(encode_texts(model, tokenizer, texts))
            right, chances = [], []
            for at in able:
                cosines = torch.stack([next(embeddings) for _ in range(1 + len(options[at]))]) @ images[at]
                right.append(bool(cosines.argmax() == 0))
                chances.append(1 / len(cosines))
            name = f"drawn scenes, unseen combination, {respect}, accuracy, {language}"
            figures.append(Figure(name, float(np.mean(right)), float(np.mean(chances)), len(able)))
    return figures


def evaluate_dual_encoder(
    model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[Pair], *, num_scenes: int = 400, seed: int = 7
) -> list[Figure]:
    """All figures on what was held out: photos, emoji, clothing and drawn scenes; puts the model in eval mode."""
    model.eval()
    figures = _natural_figures(model, tokenizer, pairs) + _clothing_figures(model, tokenizer, pairs)
    return figures + _drawn_figures(model, tokenizer, num_scenes, seed)
