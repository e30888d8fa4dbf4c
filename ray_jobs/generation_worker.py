"""What makes the pictures of a worker's rows: generator, filter and marker, and the boundary at which a row may fail."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pangu.errors import RowMemoryError
from pangu.generation_request import GeneratedImage, GenerationRequest, ImageGenerator
from pangu.output_filter import OutputFilter, load_filter
from pangu.provenance import MarkingError
from ray_jobs.errors import JobError
from ray_jobs.folder_versions import fetch_version
from ray_jobs.generated_rows import begin_row
from ray_jobs.generation_enhancer import enhance_rows, load_enhancer
from ray_jobs.generation_marks import make_marker, model_digest
from ray_jobs.generation_plan import SQUARE_BUCKET
from ray_jobs.job_configs import GenerateImages
from ray_jobs.manifest import Manifest
from ray_jobs.store import Store
from ray_jobs.tar_shards import member_name

_MOST_REASON_CHARS = 300


def load_model(store: Store, config: GenerateImages, experts: Manifest | None) -> ImageGenerator:
    """The generator, on the job's device."""
    import torch

    from pangu.diffusers_generator import load_generator
    from ray_jobs.device import torch_device

    settings: dict[str, Any] = {
        "device": torch_device(config.runtime),
        "dtype": getattr(torch, config.dtype),
        "rows_per_batch": config.batch_size,
        "offload_inactive_expert": config.offload_inactive_expert,
    }
    if experts is not None:
        with tempfile.TemporaryDirectory(prefix="pangu-experts-") as name:
            return load_generator(fetch_version(store, experts, Path(name)), **settings)
    source, _, revision = config.model.partition("@")
    if Path(config.model).is_dir():
        source, revision = config.model, ""
    size = None if config.size is None else size_of(config.size)
    return load_generator(source, revision=revision or None, size=size, **settings)


def size_of(text: str) -> tuple[int, int]:
    """(height, width) px of WIDTHxHEIGHT."""
    width, height = text.split("x")
    return int(height), int(width)


class ImageMaker:
    """Model, filter and marker, loaded once."""

    def __init__(
        self, store: Store, config: GenerateImages, experts: Manifest | None, enhancer: Manifest | None = None
    ) -> None:
        """experts: the published pair, or None where the config names another model; enhancer: alike."""
        self.config = config
        self.enhancer = load_enhancer(store, config, enhancer)
        self.model_digest = model_digest(config, experts)
        self.marker = make_marker(config, self.model_digest)
        self.filter: OutputFilter | None = None
        if config.output_filter.factory is not None:
            weights = None if config.output_filter.weights is None else Path(config.output_filter.weights)
            self.filter = load_filter(config.output_filter.factory, weights, config.output_filter.thresholds)
        self.generator = load_model(store, config, experts)
        card = getattr(getattr(self.generator, "pipeline", None), "card", None)
        self.buckets = None if card is None else {bucket.structure: bucket.index for bucket in card.buckets}
        """(height, width) to row of the bucket table; None where the model has no table."""

    def begin_row(self, prompt: dict[str, Any], index: int) -> dict[str, Any]:
        """A prompt's row for one sample, with the shape that this model gives it; ``size`` is for `request_of` alone."""
        row = begin_row(prompt, index, self.config, self.model_digest)
        return row | {"size": None} | self._shape_of(prompt)

    def _shape_of(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """``bucket`` of a prompt's row, and the ``reason`` where the model has no such shape."""
        bucket, size, reason = prompt["bucket"], prompt.get("size"), prompt["reason"]
        if self.buckets is None:
            if bucket is not None:
                reason = reason or "refused: bucket: the model has no bucket table; accepted is size"
            return {"bucket": None, "reason": reason, "size": size}
        if size is not None:
            bucket = self.buckets.get(size_of(size))
            if bucket is None:
                offered = ", ".join(f"{width}x{height}" for height, width in self.buckets)
                reason = reason or f"refused: size: got {size}, expected one of {offered}"
        elif bucket is None:
            bucket = SQUARE_BUCKET
        return {"bucket": bucket, "reason": reason, "size": None}

    def enhance(self, rows: list[dict[str, Any]]) -> None:
        """Where the config asks for it, put beside each prompt what is drawn in its place; one refused gets its reason."""
        if self.enhancer is not None:
            enhance_rows(self.enhancer, rows)

    def fill(self, rows: list[dict[str, Any]], steps: int | None = None) -> None:
        """Give every row its picture, or its reason; those that have a reason keep it. steps: instead of the config's.

        Raises:
            JobError: nothing at all can be made: the fault is not the rows'.
        """
        wanted = []
        for row in rows:
            if row["reason"] is not None:
                continue
            try:
                request = self.request_of(row, steps)
                self.generator.check(request)
            except ValueError as error:
                row["reason"] = _reason("refused", error)
                continue
            wanted.append((row, request))
        requests = [request for _, request in wanted]
        outcomes = make_each(self.generator, requests)
        self._check_life(requests, outcomes)
        made = [(row, outcomes[row["key"]]) for row, _ in wanted]
        for row, outcome in made:
            if isinstance(outcome, Exception):
                row["reason"] = _reason("failed", outcome)
        self._store([(row, outcome) for row, outcome in made if isinstance(outcome, GeneratedImage)])

    def request_of(self, row: dict[str, Any], steps: int | None = None) -> GenerationRequest:
        """What a row asks of the generator. ValueError when a setting is out of the model's range."""
        config = self.config
        styles = dict(config.style_scales)
        if row["style"] is not None and config.prompt_style_scale:
            styles[row["style"]] = config.prompt_style_scale
        shape: dict[str, Any] = {} if row["bucket"] is None else {"bucket": row["bucket"]}
        if row.get("size") is not None:
            shape["size"] = size_of(row["size"])
        return GenerationRequest.model_validate(
            {
                "key": row["key"],
                "prompt": row["enhanced_prompt"] or row["prompt"],
                "negative": row["negative"] or "",
                "seed": row["seed"],
                "steps": steps or config.steps,
                "sampler": config.sampler,
                "guidance": config.guidance,
                "texture_guidance": config.texture_guidance,
                "guidance_interval": config.guidance_interval,
                "styles": styles,
            }
            | shape
        )

    def _check_life(self, requests: Sequence[GenerationRequest], outcomes: dict[str, Any]) -> None:
        """Where every row failed, see whether an empty prompt can be made: if not, no row is to blame."""
        failed = [outcome for outcome in outcomes.values() if isinstance(outcome, Exception)]
        if not requests or len(failed) < len(outcomes) or all(isinstance(e, RowMemoryError) for e in failed):
            return
        trial = make_each(self.generator, [requests[0].model_copy(update={"prompt": "", "negative": ""})])
        if isinstance(next(iter(trial.values())), Exception):
            raise JobError(f"generate_images: not even an empty prompt can be sampled: {failed[0]!r}") from failed[0]

    def _store(self, made: Sequence[tuple[dict[str, Any], GeneratedImage]]) -> None:
        """Filter, mark and encode; what is blocked or cannot be marked gets a reason and no picture."""
        verdicts = self.filter([outcome.image for _, outcome in made]) if self.filter is not None and made else None
        for place, (row, outcome) in enumerate(made):
            if verdicts is not None:
                row["filter_scores"] = json.dumps({k: round(v, 6) for k, v in sorted(verdicts[place].scores.items())})
                if verdicts[place].blocked is not None:
                    row["reason"] = f"blocked: {verdicts[place].blocked}"
                    continue
            try:
                marked = self.marker(outcome.image)
            except MarkingError as error:
                row["reason"] = _reason("unmarked", error)
                continue
            path = f"{member_name(row['key'])}.{self.config.encode_format}"
            row["image"] = {"bytes": marked.data, "path": path}
            row["height"], row["width"] = marked.pixels.shape[:2]
            row["image_sha256"] = GeneratedImage(outcome.request, marked.pixels).sha256
            row["encoded_sha256"] = marked.encoded_sha256


def make_each(
    generator: ImageGenerator, requests: Sequence[GenerationRequest]
) -> dict[str, GeneratedImage | Exception]:
    """Picture or error of every request, by key. A failing batch is halved until the row that fails stands alone."""
    if not requests:
        return {}
    try:
        return {made.request.key: made for made in generator.generate(requests)}
    except RowMemoryError as error:
        made: dict[str, GeneratedImage | Exception] = {image.request.key: image for image in error.made}
        return made | dict.fromkeys(error.keys, error)
    except Exception as error:  # the boundary of a row: whatever it raises is its reason, and no other row's
        if len(requests) == 1:
            return {requests[0].key: error}
    middle = len(requests) // 2
    return make_each(generator, requests[:middle]) | make_each(generator, requests[middle:])


def _reason(kind: str, error: Exception) -> str:
    """A reason in one line of a bounded length."""
    named = "out of memory" if isinstance(error, RowMemoryError) else str(error) or type(error).__name__
    if not isinstance(error, ValueError | RowMemoryError | MarkingError):
        named = f"{type(error).__name__}: {named}"
    return f"{kind}: {' '.join(named.split())}"[:_MOST_REASON_CHARS]
