"""Fitting the text tower: a sentence encoder's geometry for natural texts, exact attributes for drawn scenes.

Natural texts take the geometry of an English sentence encoder (Chinese ones that of their English counterpart, arXiv
2004.09813). Scene captions are told apart by contrast with their own near misses, and linear read-outs of background,
kinds, colours, axis, count, side and size keep every attribute readable from the embedding.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from curation.dual_encoder import EMBED_DIM, encode_ids, token_ids
from curation.dual_encoder_data import TaughtText
from curation.sample.scene_captions import Language, caption, is_held_out, near_misses
from curation.sample.scenes import BACKGROUNDS, COLOURS, KINDS, SIZES, Scene, random_scene

TEACHER_DIM = 384
_COLOURS = tuple(COLOURS)
ATTRIBUTE_SIZES: dict[str, int] = {
    "background": len(BACKGROUNDS),
    "first_kind": len(KINDS),
    "first_colour": len(COLOURS),
    "second_kind": len(KINDS) + 1,
    "second_colour": len(COLOURS) + 1,
    "axis": 3,
    "count": 3,
    "side": 3,
    "size": 3,
}


def attribute_targets(scene: Scene) -> list[int]:
    """Class per attribute, in the order of `ATTRIBUTE_SIZES`.

    The left or upper thing of a pair is the first whichever end the caption starts from: a picture cannot know.
    """
    first, *rest = scene.things if scene.relation not in ("right_of", "below") else scene.things[::-1]
    axis = 0 if scene.relation is None else 1 if scene.relation in ("left_of", "right_of") else 2
    return [
        BACKGROUNDS.index(scene.background),
        KINDS.index(first.kind),
        _COLOURS.index(first.colour),
        1 + KINDS.index(rest[0].kind) if rest else 0,
        1 + _COLOURS.index(rest[0].colour) if rest else 0,
        axis,
        first.count - 1,
        (None, "left", "right").index(scene.side),
        SIZES.index(first.size),
    ]


class AttributeReadout(nn.Module):
    """Linear read-outs of every scene attribute from a normalised embedding; one set serves text and pictures."""

    def __init__(self) -> None:
        """Untrained read-outs."""
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(EMBED_DIM, classes) for classes in ATTRIBUTE_SIZES.values())

    def loss(self, embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of embeddings (B, 256) against targets (B, 9) int64."""
        losses = [
            F.cross_entropy(head(embeddings * 16), targets[:, index], label_smoothing=0.02)
            for index, head in enumerate(self.heads)
        ]
        return torch.stack(losses).mean()

    @torch.no_grad()
    def accuracy(self, embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Accuracy per attribute, (9,)."""
        right = [
            (head(embeddings * 16).argmax(1) == targets[:, at]).float().mean() for at, head in enumerate(self.heads)
        ]
        return torch.stack(right)


@dataclass
class TextFit:
    """What fitting the text tower moves: the model, the read-outs and the map into the teacher's space."""

    model: Any
    readout: AttributeReadout
    to_teacher: nn.Linear

    def parameters(self) -> list[nn.Parameter]:
        """Everything that is fitted."""
        return [*self.model.text.parameters(), *self.readout.parameters(), *self.to_teacher.parameters()]


@torch.no_grad()
def teacher_embeddings(texts: Sequence[str], folder: Path, *, batch: int = 128) -> torch.Tensor:
    """Normalised mean-pooled embeddings (N, 384) of an English sentence encoder in a local transformers folder."""
    from curation.torchvision_ops import declare_missing_ops

    declare_missing_ops()
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    encoder: Any = AutoModel.from_pretrained(folder).eval()
    found = torch.zeros(len(texts), TEACHER_DIM)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        inputs = tokenizer(
            [texts[i] for i in chosen], padding=True, truncation=True, max_length=64, return_tensors="pt"
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = encoder(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"].unsqueeze(-1).float()
        found[chosen] = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    return found


def random_aspect(rng: np.random.Generator) -> float:
    """A width / height from 1:4 to 4:1, a square for four in ten."""
    return float(np.exp(rng.uniform(np.log(0.25), np.log(4.0)))) if rng.random() < 0.6 else 1.0


def training_scene(rng: np.random.Generator, aspect: float | None = None) -> Scene:
    """A random scene of a combination that is not kept for evaluation."""
    while True:
        scene = random_scene(rng, aspect=random_aspect(rng) if aspect is None else aspect)
        if not is_held_out(scene):
            return scene


def _scene_loss(fit: TextFit, tokenizer: Tokenizer, rng: np.random.Generator, num_scenes: int) -> torch.Tensor:
    languages: tuple[Language, Language] = ("en", "zh") if rng.random() < 0.5 else ("zh", "en")
    scenes = [training_scene(rng) for _ in range(num_scenes)]
    misses = [near_misses(scene, rng) for scene in scenes]
    others = [(index, near) for index, found in enumerate(misses) for near in list(found.values())]
    texts = [caption(scene, languages[0], rng) for scene in scenes]
    texts += [caption(scene, languages[1], rng) for scene in scenes]
    texts += [caption(near, languages[int(rng.integers(2))], rng) for _, near in others]
    embeddings = _encode(fit, tokenizer, texts)
    targets = torch.tensor([attribute_targets(scene) for scene in [*scenes, *scenes, *(near for _, near in others)]])
    one, two = embeddings[:num_scenes], embeddings[num_scenes : 2 * num_scenes]
    labels = torch.arange(num_scenes)
    contrast = F.cross_entropy(one @ embeddings[num_scenes:].T * 16, labels)
    contrast = contrast + F.cross_entropy(
        two @ embeddings[torch.cat([labels, _tail(num_scenes, embeddings)])].T * 16, labels
    )
    return 0.5 * contrast + fit.readout.loss(embeddings, targets) * 2


def _tail(num_scenes: int, embeddings: torch.Tensor) -> torch.Tensor:
    return torch.arange(2 * num_scenes, len(embeddings))


def _encode(fit: TextFit, tokenizer: Tokenizer, texts: Sequence[str]) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = encode_ids(fit.model, token_ids(tokenizer, texts))
    return F.normalize(embeddings.float(), dim=-1)


def _natural_loss(
    fit: TextFit, tokenizer: Tokenizer, texts: Sequence[TaughtText], targets: torch.Tensor
) -> torch.Tensor:
    embeddings = _encode(fit, tokenizer, [each.text for each in texts])
    mapped = F.normalize(fit.to_teacher(embeddings), dim=-1)
    cosine = 1 - (mapped * targets).sum(1).mean()
    wanted = F.log_softmax(targets @ targets.T * 12, dim=1)
    found = F.log_softmax(embeddings @ embeddings.T * 12, dim=1)
    geometry = F.kl_div(found, wanted, log_target=True, reduction="batchmean")
    contrast = F.cross_entropy(mapped @ targets.T * 20, torch.arange(len(texts)))
    return 2 * cosine + geometry + 0.3 * contrast


def _some(rows: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.choice(rows, min(count, len(rows)), replace=False)


def fit_text_tower(
    fit: TextFit,
    tokenizer: Tokenizer,
    texts: Sequence[TaughtText],
    targets: torch.Tensor,
    *,
    steps: int,
    seed: int,
    progress: Callable[[str], None],
    peak_rate: float = 1.2e-3,
) -> None:
    """Fit in place for `steps`; `targets` (N, 384) are the centred, normalised teacher embeddings of `texts`.

    The learning rate warms up shortly, then falls as a cosine.
    """
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(fit.parameters(), lr=peak_rate, weight_decay=0.02, betas=(0.9, 0.98))
    short = np.array([index for index, each in enumerate(texts) if len(each.text) < 24])
    long = np.array([index for index, each in enumerate(texts) if len(each.text) >= 24])
    for step in range(steps):
        done = step / steps
        rate = peak_rate * min(1.0, (step + 1) / 60) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
        for group in optimiser.param_groups:
            group["lr"] = rate
        chosen = _some(short, 160, rng) if step % 2 or not len(long) else _some(long, 112, rng)
        natural = _natural_loss(fit, tokenizer, [texts[index] for index in chosen], targets[torch.from_numpy(chosen)])
        drawn = _scene_loss(fit, tokenizer, rng, 24)
        optimiser.zero_grad()
        torch.autograd.backward(natural + drawn)
        nn.utils.clip_grad_norm_(fit.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0:
            progress(f"text step {step}, {done:.0%}: natural {natural.item():.3f}, drawn {drawn.item():.3f}")
