"""Any text-to-image pipeline of diffusers behind the generator's own interface, for comparison on the same requests.

A row's noise comes from its seed alone, and the pipeline is always called with one fixed number of prompts: on a CPU an
image does not depend, to the bit, on its company. What a plain pipeline has no notion of is refused, never ignored.
"""

import inspect
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pangu.errors import RowMemoryError
from pangu.generate import Generator
from pangu.generation_request import GeneratedImage, GenerationRequest, ImageGenerator
from pangu.padded_batches import PaddedBatches, SingleRowError
from pangu.pipeline import PanGuDrawPipeline, load_experts
from pangu.samplers import SamplerName
from pangu.time_range import Role
from pangu.torchvision_ops import declare_missing_ops

declare_missing_ops()

from diffusers import (  # noqa: E402  (torchvision's operators must exist first)
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

MODEL_INDEX = "model_index.json"
_NETWORKS = ("unet", "transformer", "transformer_2")
_SCHEDULERS = {
    SamplerName.DDIM: DDIMScheduler,
    SamplerName.EULER: EulerDiscreteScheduler,
    SamplerName.DPM_SOLVER: DPMSolverMultistepScheduler,
    SamplerName.UNIPC: UniPCMultistepScheduler,
}
_EXACT = {"clean_caption": False, "use_resolution_binning": False}
"""Where a pipeline would rewrite the prompt or sample another size than was asked for, it is told not to."""


@dataclass(frozen=True)
class _Setting:
    """What rows must share to run in one call. has_negative: an empty one is left to the pipeline's own default."""

    size: tuple[int, int] | None
    steps: int
    sampler: SamplerName | None
    guidance: float
    has_negative: bool


@dataclass
class _Calls:
    """What the networks were asked in one call: evaluated rows, and steps, at each of which t changes."""

    before_each: Callable[[int], None] | None
    rows: int = 0
    steps: int = 0
    last: float | None = None

    def note(self, _: torch.nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Hook before a network runs; what `before_each` raises ends the call."""
        x_t = args[0] if args else named.get("sample", named.get("hidden_states"))
        told = args[1] if len(args) > 1 else named.get("timestep", 0)
        t = float(torch.as_tensor(told).flatten()[0])
        self.rows += len(torch.as_tensor(x_t))
        self.steps += t != self.last
        self.last = t
        if self.before_each is not None:
            self.before_each(int(t))


class DiffusersGenerator:
    """Samples a plain diffusers pipeline; see `ImageGenerator`. Safe for one thread at a time."""

    def __init__(self, pipeline: Any, *, rows_per_batch: int = 8, size: tuple[int, int] | None = None) -> None:  # noqa: ANN401
        """pipeline: on its device. rows_per_batch: prompts of one call. size: (height, width) px where a request names none.

        Raises:
            ValueError: rows_per_batch is below 1, or the pipeline does not make images from prompts and seeds.
        """
        if rows_per_batch < 1:
            raise ValueError(f"rows_per_batch: got {rows_per_batch}, expected at least 1")
        self.accepted = frozenset(inspect.signature(pipeline.__call__).parameters)
        self.name = type(pipeline).__name__
        self.networks = [getattr(pipeline, name) for name in _NETWORKS if getattr(pipeline, name, None) is not None]
        needed = {"prompt", "num_inference_steps", "generator", "output_type", "height", "width"}
        if needed - self.accepted or not self.networks:
            raise ValueError(
                f"pipeline: got {self.name}, expected a text-to-image pipeline that takes {sorted(needed)}"
            )
        self.pipeline = pipeline
        self.rows_per_batch = rows_per_batch
        self.size = size
        self._scheduler = pipeline.scheduler
        self._padded: dict[tuple[int, int] | None, PaddedBatches] = {}
        self._calls = _Calls(None)
        pipeline.set_progress_bar_config(disable=True)

    def check(self, request: GenerationRequest) -> None:
        """Refuse what the pipeline cannot do.

        Raises:
            ValueError: naming the field, its value and what is accepted.
        """
        for field in ("bucket", "column"):
            if field in request.model_fields_set:
                raise ValueError(f"{field}: got {getattr(request, field)!r}, expected none: {self.name} takes `size`")
        for field in ("styles", "texture_guidance", "guidance_interval"):
            if getattr(request, field) not in (None, {}):
                raise ValueError(
                    f"{field}: got {getattr(request, field)!r}, expected none: {self.name} has no such thing"
                )
        if request.guidance < 1:
            raise ValueError(f"guidance: got {request.guidance}, expected at least 1, which {self.name} takes for none")
        if request.negative and "negative_prompt" not in self.accepted:
            raise ValueError(f"negative: got {request.negative!r}, expected '': {self.name} takes no negative prompt")
        offered = [name for name, scheduler in _SCHEDULERS.items() if scheduler in self._scheduler.compatibles]
        if request.sampler is not None and request.sampler not in offered:
            kind = type(self._scheduler).__name__
            raise ValueError(f"sampler: got {request.sampler}, expected none or one of {offered}, as {kind} allows")
        if request.size is not None and any(side % self.side_step for side in request.size):
            raise ValueError(f"size: got {request.size}, expected sides that divide by {self.side_step}")

    @property
    def reduced(self) -> dict[str, int]:
        """Batch sizes that memory has forced down, by the image's size, as in `1024x1024`."""
        return {
            "default" if size is None else f"{size[0]}x{size[1]}": batches.rows
            for size, batches in self._padded.items()
            if batches.rows < batches.first
        }

    @property
    def side_step(self) -> int:
        """Pixels by which both sides must divide: the autoencoder's factor times a transformer's patch."""
        patch = getattr(self.networks[0].config, "patch_size", None)
        return int(getattr(self.pipeline, "vae_scale_factor", 8)) * (patch if isinstance(patch, int) else 1)

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[GenerationRequest], on_step: Callable[[int], None] | None = None
    ) -> list[GeneratedImage]:
        """One image a request, in order.

        on_step: told the network's own timestep before each evaluation; an exception it raises ends the work.

        Raises:
            ValueError: a request asks for what the pipeline does not have.
            RowMemoryError: some rows do not fit in memory even alone; it holds the images of the others.
        """
        groups: dict[_Setting, list[int]] = {}
        for place, request in enumerate(requests):
            self.check(request)
            setting = _Setting(
                request.size or self.size, request.steps, request.sampler, request.guidance, bool(request.negative)
            )
            groups.setdefault(setting, []).append(place)
        images: dict[int, GeneratedImage] = {}
        for setting, places in groups.items():
            images |= self._run_group(setting, places, requests, on_step)
        made = [images[place] for place in sorted(images)]
        if len(made) < len(requests):
            raise RowMemoryError([row.key for place, row in enumerate(requests) if place not in images], made)
        return made

    def _run_group(
        self,
        setting: _Setting,
        places: Sequence[int],
        requests: Sequence[GenerationRequest],
        on_step: Callable[[int], None] | None,
    ) -> dict[int, GeneratedImage]:
        """The group's images by place; rows that do not fit in memory are left out."""
        images: dict[int, GeneratedImage] = {}
        padded = self._padded.setdefault(setting.size, PaddedBatches(self.rows_per_batch))
        waiting = list(places)
        while waiting:
            chunk = waiting[: padded.rows]
            padded.used = set()
            try:
                pixels = padded.run(len(chunk), partial(self._call, setting, [requests[n] for n in chunk], on_step))
            except SingleRowError as error:
                waiting.remove(chunk[error.row])
                continue
            del waiting[: len(chunk)]
            steps, evaluations = {Role.SHARED: self._calls.steps}, {Role.SHARED: self._calls.rows // padded.rows}
            for place, image in zip(chunk, pixels.numpy(), strict=True):
                images[place] = GeneratedImage(
                    requests[place], image, steps, evaluations, tuple(sorted(padded.used)), tuple(sorted(padded.used))
                )
        return images

    def _call(
        self,
        setting: _Setting,
        requests: Sequence[GenerationRequest],
        on_step: Callable[[int], None] | None,
        places: Tensor,
    ) -> Tensor:
        """Images (B, H, W, 3) uint8 of the requests at these places, which the pipeline samples in one call."""
        rows = [requests[place] for place in places.tolist()]
        height, width = setting.size or (None, None)
        settings: dict[str, Any] = {
            "prompt": [row.prompt for row in rows],
            "height": height,
            "width": width,
            "num_inference_steps": setting.steps,
            "generator": [torch.Generator("cpu").manual_seed(row.seed) for row in rows],
            "output_type": "np",
        }
        settings |= {name: value for name, value in _EXACT.items() if name in self.accepted}
        if "guidance_scale" in self.accepted:
            settings["guidance_scale"] = setting.guidance
        if setting.has_negative:
            settings["negative_prompt"] = [row.negative for row in rows]
        kind = type(self._scheduler) if setting.sampler is None else _SCHEDULERS[setting.sampler]
        self.pipeline.scheduler = kind.from_config(self._scheduler.config)
        self._calls = _Calls(on_step)
        with ExitStack() as hooks:
            for network in self.networks:
                handle = network.register_forward_pre_hook(self._calls.note, with_kwargs=True)
                hooks.callback(handle.remove)
            images = self.pipeline(**settings).images
        return torch.from_numpy((np.asarray(images) * 255).round().astype(np.uint8))


def load_generator(
    source: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    rows_per_batch: int = 8,
    size: tuple[int, int] | None = None,
    offload_inactive_expert: bool = False,
) -> ImageGenerator:
    """The generator for a model: of a folder that we wrote, of any diffusers folder, or of a repository on the hub.

    source: a folder with `model_index.json`, else `owner/name` on the hub, then with the commit as `revision`. dtype: of the
    weights; a pair's texts and steps stay in float32. size: see `DiffusersGenerator`. Only safetensors are read.

    Raises:
        ValueError: there is no such folder and no revision, or a setting does not go with this kind of model.
        ExpertMismatchError: the folder is a pair of experts that do not fit together.
    """
    folder = Path(source)
    if not folder.is_dir():
        if revision is None:
            raise ValueError(f"revision: got none for {str(source)!r}, which is no folder; expected the hub's commit")
        folder = Path(DiffusionPipeline.download(str(source), revision=revision, use_safetensors=True))
    if not (folder / MODEL_INDEX).is_file():
        raise ValueError(
            f"source: got {str(source)!r}, expected a folder with {MODEL_INDEX}, as save_pretrained writes it"
        )
    kind = json.loads((folder / MODEL_INDEX).read_text(encoding="utf-8")).get("_class_name")
    if kind == PanGuDrawPipeline.__name__:
        if size is not None:
            raise ValueError(f"size: got {size}, expected none for a pair of experts")
        return Generator(
            load_experts(folder, device, dtype),
            rows_per_batch=rows_per_batch,
            offload_inactive_expert=offload_inactive_expert,
        )
    if offload_inactive_expert:
        raise ValueError(f"offload_inactive_expert: got True, expected False for {kind}, which has no experts")
    pipeline = DiffusionPipeline.from_pretrained(str(folder), use_safetensors=True, dtype=dtype).to(device)
    return DiffusersGenerator(pipeline, rows_per_batch=rows_per_batch, size=size)
