"""A diffusers U-Net, with any ControlNets, that has been told what to draw: guided x0 from x_t and t.

ControlNets on one U-Net add their residuals, each times its scale: ControlNet's own feature addition (arXiv 2302.05543).
Guidance weighs x0 as it would epsilon; see `pangu.guidance`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pangu.denoiser import PredictionType, to_x0
from pangu.guidance import NULL, PROMPT, guidance_weights
from pangu.noise_schedule import NoiseSchedule


@dataclass(frozen=True)
class Branch:
    """What the network is told of B rows with, or without, their prompts.

    arguments: the network's keyword tensors, such as `encoder_hidden_states` (B, L, D). added: SDXL's `added_cond_kwargs`.
    """

    arguments: Mapping[str, Tensor]
    added: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ToldRows:
    """Everything that B rows are told.

    guidance: s. controls: for each ControlNet (B, 3, H, W) in [0, 1] at the picture's size. control_scales: one for each.
    beside: (B, c, h, w) channels put behind the latents, such as a depth map; None for none.
    """

    null: Branch
    prompt: Branch
    guidance: float
    controls: tuple[Tensor, ...] = ()
    control_scales: tuple[float, ...] = ()
    beside: Tensor | None = None


class ToldUNet:
    """See the module and `pangu.prompted_model.PromptedDenoiser`.

    num_rows: rows evaluated so far, one a branch.
    """

    def __init__(
        self,
        unet_at: Callable[[float], Any],
        controlnets: Sequence[Any],
        told: ToldRows,
        schedule: NoiseSchedule,
        prediction_type: PredictionType,
    ) -> None:
        """unet_at: timestep to the UNet2DConditionModel that owns it. controlnets: ControlNetModels, one a control."""
        self.unet_at, self.controlnets, self.told = unet_at, tuple(controlnets), told
        self.schedule, self.prediction_type = schedule, prediction_type
        weights = guidance_weights(told.guidance, {})
        self.weights = tuple(weights.values())
        branches = [{NULL: told.null, PROMPT: told.prompt}[name] for name in weights]
        self._arguments = _joined([branch.arguments for branch in branches])
        if branches[0].added:
            self._arguments["added_cond_kwargs"] = _joined([branch.added for branch in branches])
        self._controls = [image.repeat(len(branches), 1, 1, 1) for image in told.controls]
        self.num_rows = 0

    def __call__(self, x_t: Tensor, t: float) -> Tensor:
        """See `pangu.prompted_model.PromptedDenoiser`; any floating type, computed in the network's."""
        unet = self.unet_at(t)
        dtype = next(unet.parameters()).dtype
        seen = x_t.to(dtype).repeat(len(self.weights), 1, 1, 1)
        self.num_rows += len(seen)
        output = self._predict(unet, seen, t).to(x_t.dtype)
        x0 = to_x0(output, x_t.repeat(len(self.weights), 1, 1, 1), t, self.prediction_type, self.schedule)
        total = torch.zeros_like(x_t)
        for weight, branch in zip(self.weights, torch.split(x0, len(x_t)), strict=True):
            total = total + weight * branch
        return total

    def _predict(self, unet: Any, seen: Tensor, t: float) -> Tensor:  # noqa: ANN401
        time = torch.as_tensor(int(t) if float(t).is_integer() else t, device=seen.device)
        residuals: dict[str, Any] = {}
        if self.controlnets:
            residuals = control_residuals(
                self.controlnets, self.told.control_scales, self._controls, seen, time, self._arguments
            )
        if self.told.beside is not None:
            seen = torch.cat([seen, self.told.beside.to(seen).repeat(len(self.weights), 1, 1, 1)], dim=1)
        output: Tensor = unet(seen, time, return_dict=False, **self._arguments, **residuals)[0]
        return output


def control_residuals(
    controlnets: Sequence[Any],
    scales: Sequence[float],
    controls: Sequence[Tensor],
    x_t: Tensor,
    t: Tensor,
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """The keyword arguments with which ControlNets reach a U-Net, their residuals added up."""
    down: list[Tensor] = []
    middle: Tensor | None = None
    for controlnet, scale, control in zip(controlnets, scales, controls, strict=True):
        found, centre = controlnet(
            x_t, t, controlnet_cond=control.to(x_t), conditioning_scale=scale, return_dict=False, **arguments
        )
        down = [one + other for one, other in zip(down, found, strict=True)] if down else list(found)
        middle = centre if middle is None else middle + centre
    return {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": middle}


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
