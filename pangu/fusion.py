"""Coop-Diffusion across latent spaces: several pretrained models draw one picture, each in its own latents.

At every step each model predicts its clean picture, and all go on towards the weighted mean of them, which crosses from
space to space through pixels. With weights w_j that sum to 1, x0_j of model j and the bridge of `latent_bridge`:

    x0 of model i  =  w_i x0_i + (1 - w_i) E_i( sum over j != i of  w_j D_j(x0_j) / (1 - w_i) )

| here            | paper (arXiv 2312.16486)                                                                |
|-----------------|-----------------------------------------------------------------------------------------|
| first part      | model A, whose picture is returned; it has the weight that the others leave             |
| other parts     | model B; their weights are d(t)                                                         |
| x0              | the paper fuses epsilon, the same thing since x0 is affine in it at a fixed x_t and t   |

Models of one space and size need no bridge: they share one trajectory. Models of different schedules meet at equal
log-SNR, where variance-preserving latents have equal signal and noise rates, so one step formula serves all. Sizes meet
by an antialiased resize in pixels. Where its weight is 0 a model is not evaluated, and where it stays 0 it is not
bridged either. Between bridges (`every` > 1) the other models rest: their last picture counts as if it were new.

    layout, colours = (model.told([Told(prompt)], (64, 64)) for model, prompt in ...)     # any `PromptedModel`
    fused = fuse_models([FusionPart(layout), FusionPart(colours, weight=WeightSchedule.fading(0.5))])
    picture = sample(fused, seeds=[7], steps=30)[0]                                       # (64, 64, 3) uint8
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pangu.joint_space import JointSpace
from pangu.latent_bridge import LatentSpace, Size, resize_pixels
from pangu.prompted_model import PromptedModel, begin
from pangu.weight_schedule import WeightSchedule

__all__ = ["FusedDenoiser", "FusionPart", "WeightSchedule", "fuse_models"]


@dataclass(frozen=True)
class FusionPart:
    """One model in a fusion. bridge: the space that stands in for its own inside the bridge, such as a tiny autoencoder.

    weight: None for the first part, which has what the others leave.
    """

    model: PromptedModel
    weight: WeightSchedule | None = None
    bridge: LatentSpace | None = None

    @property
    def space(self) -> LatentSpace:
        """The space that the bridge uses."""
        return self.model.space if self.bridge is None else self.bridge


@dataclass(frozen=True)
class _Group:
    """Parts of one space and size: one trajectory. members: their numbers.

    space: the one the bridge uses; own_space: the models' own.
    """

    space: LatentSpace
    own_space: LatentSpace
    size: Size
    members: tuple[int, ...]


class FusedDenoiser:
    """Several prompted models as one denoiser; for one trajectory, whose steps it counts. See the module.

    evaluations: calls of each part so far. crossings: encodings into each group's space so far, one a call.
    has_jumped: the last call heard other models than the one before it.
    """

    def __init__(self, parts: Sequence[FusionPart], every: int = 1) -> None:
        """parts: the first one leads. every: bridge on each so manieth step, beginning with the first.

        Raises:
            ValueError: no part, a weight missing or given to the first, weights above 1 together, or every below 1.
        """
        _check(parts, every)
        self.parts, self.every = tuple(parts), every
        self.schedule = parts[0].model.schedule
        self.groups = _group(parts)
        self.joint = JointSpace([group.own_space for group in self.groups], [group.size for group in self.groups])
        self.evaluations = [0] * len(parts)
        self.crossings = [0] * len(self.groups)
        self.has_jumped = False
        self._speaks_until = self._last_words()
        self._step = 0
        self._speaking: tuple[int, ...] | None = None
        self._heard: Tensor | None = None
        self._resting: list[Tensor | None] = [None] * len(self.groups)

    def weights_at(self, t: float) -> list[float]:
        """Weight of every part at a timestep of the first model's schedule; they sum to 1."""
        return _weights_at(self.parts, t)

    def __call__(self, x_t: Tensor, t: float) -> Tensor:
        """See `pangu.prompted_model.PromptedDenoiser`; x_t as the model of `fuse_models` has it."""
        weights = self.weights_at(t)
        speaking = tuple(number for number, weight in enumerate(weights) if weight > 0)
        self.has_jumped = self._speaking is not None and speaking != self._speaking
        meets = self._step % self.every == 0 or self.has_jumped
        self._speaking, self._step = speaking, self._step + 1
        states = [x_t] if len(self.groups) == 1 else self.joint.split(x_t)
        fused = self._meet(states, t, weights) if meets else self._go_on(states, t, weights)
        return fused[0] if len(self.groups) == 1 else self.joint.join(fused)

    def _meet(self, states: list[Tensor], t: float, weights: list[float]) -> list[Tensor]:
        """x0 of every group, each model asked and every picture brought to whoever listens."""
        shares = [sum(weights[number] for number in group.members) for group in self.groups]
        asked = [
            self._ask(group, state, t, weights) if share > 0 else None
            for group, state, share in zip(self.groups, states, shares, strict=True)
        ]
        own = [None if waiting is None else waiting() for waiting in asked]
        fused: list[Tensor] = []
        heard = self._bring(own, shares, t)
        for mine, others, share, state in zip(own, heard, shares, states, strict=True):
            if mine is None or others is None:
                fused.append(state if mine is None and others is None else _present(others if mine is None else mine))
            else:
                fused.append(share * mine + (1 - share) * others)
        self._heard, self._resting = heard[0], [None, *fused[1:]]
        return fused

    def _go_on(self, states: list[Tensor], t: float, weights: list[float]) -> list[Tensor]:
        """x0 of every group between meetings: the first alone is asked, the others keep to their last picture."""
        share = sum(weights[number] for number in self.groups[0].members)
        first = self._ask(self.groups[0], states[0], t, weights)() if share > 0 else _present(self._heard)
        if self._heard is not None and 0 < share < 1:
            first = share * first + (1 - share) * self._heard
        return [first, *(_present(resting) for resting in self._resting[1:])]

    def _ask(self, group: _Group, state: Tensor, t: float, weights: list[float]) -> Callable[[], Tensor]:
        """Ask all speaking members of a group, each at the timestep of its own schedule, before any of them is waited for.

        What is returned waits, and gives the weighted mean of x0.
        """
        log_snr = float(self.schedule.log_snr(t))
        speaking = [number for number in group.members if weights[number] > 0]
        asked = []
        for number in speaking:
            model = self.parts[number].model
            own_t = t if model.schedule == self.schedule else model.schedule.timestep_at(log_snr)
            self.evaluations[number] += 1
            asked.append(begin(model.denoise, state, own_t))
        share = sum(weights[number] for number in speaking)

        def mean() -> Tensor:
            if len(asked) == 1:
                return asked[0]()
            return torch.stack([weights[n] / share * said() for n, said in zip(speaking, asked, strict=True)]).sum(0)

        return mean

    def _bring(self, own: list[Tensor | None], shares: list[float], t: float) -> list[Tensor | None]:
        """What each group hears: the others' mean picture in its own latents; None for whoever is done or alone."""
        listens = [place == 0 or self._speaks_until[place] <= t for place in range(len(own))]
        pictures: dict[int, Tensor] = {}
        for place, said in enumerate(own):
            if said is not None and any(listens[other] for other in range(len(own)) if other != place):
                pictures[place] = self.groups[place].space.decode(said)
        heard: list[Tensor | None] = []
        for place, group in enumerate(self.groups):
            others = [other for other in pictures if other != place]
            if not others or not listens[place]:
                heard.append(None)
                continue
            total = sum(shares[other] for other in others)
            resized = [resize_pixels(pictures[other], group.size) for other in others]
            parts = [shares[other] / total * each for other, each in zip(others, resized, strict=True)]
            heard.append(group.space.encode(resized[0] if len(others) == 1 else torch.stack(parts).sum(0)))
            self.crossings[place] += 1
        return heard

    def _last_words(self) -> list[float]:
        """Of every group, the lowest whole timestep at which it has any weight; infinite where it has none."""
        spoken = np.array([self.weights_at(t) for t in range(self.schedule.num_timesteps)]) > 0
        found: list[float] = []
        for group in self.groups:
            steps = np.flatnonzero(spoken[:, list(group.members)].any(1))
            found.append(float(steps[0]) if len(steps) else np.inf)
        return found


def fuse_models(parts: Sequence[FusionPart], *, every: int = 1) -> PromptedModel:
    """A fusion as a model like any other, for one trajectory; the first part's schedule and picture are its own.

    Raises:
        ValueError: see `FusedDenoiser`.
    """
    denoise = FusedDenoiser(parts, every)
    lead = parts[0].model
    space = lead.space if len(denoise.groups) == 1 else denoise.joint
    return PromptedModel(denoise, space, lead.schedule, lead.size, lead.device)


def _present(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def _group(parts: Sequence[FusionPart]) -> tuple[_Group, ...]:
    members: dict[tuple[int, Size], list[int]] = {}
    for number, part in enumerate(parts):
        members.setdefault((id(part.space), part.model.size), []).append(number)
    groups = []
    for numbers in members.values():
        first = parts[numbers[0]]
        groups.append(_Group(first.space, first.model.space, first.model.size, tuple(numbers)))
    return tuple(groups)


def _check(parts: Sequence[FusionPart], every: int) -> None:
    if every < 1:
        raise ValueError(f"every: got {every}, expected at least 1")
    if not parts:
        raise ValueError("parts: got none, expected at least one")
    for number, part in enumerate(parts):
        if (part.weight is None) is not (number == 0):
            raise ValueError(
                f"weight of part {number}: got {part.weight}, expected none for the first and one for every other"
            )
    for t in range(parts[0].model.schedule.num_timesteps):
        total = sum(_others_at(parts, t))
        if total > 1 + _ALMOST:
            raise ValueError(f"weights: got {total:.4g} together at timestep {t}, expected at most 1")


_ALMOST = 1e-9


def _others_at(parts: Sequence[FusionPart], t: float) -> list[float]:
    schedule = parts[0].model.schedule
    return [part.weight.at(t, schedule) for part in parts[1:] if part.weight is not None]


def _weights_at(parts: Sequence[FusionPart], t: float) -> list[float]:
    others = _others_at(parts, t)
    first = 1 - sum(others)
    return [first if first > _ALMOST else 0.0, *others]
