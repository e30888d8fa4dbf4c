"""generate_images: every prompt and sample index ends as a row, its picture decided by (prompt id, index, seed, model)."""

import io
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from ray_jobs.folder_versions import fetch_version
from ray_jobs.job import JobContext
from ray_jobs.job_configs import GenerateImages
from ray_jobs.manifest import Manifest
from ray_jobs.part_runner import WorkerSetup, run_parts
from ray_jobs.parts import read_part

GENERATED = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string()),
        pa.field("sample_index", pa.int32()),
        pa.field("seed", pa.int64()),
        pa.field("prompt", pa.string()),
        pa.field("language", pa.string()),
        pa.field("bucket", pa.int32()),
        pa.field("style", pa.string()),
        pa.field("attributes", pa.string()),
        pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("image_sha256", pa.string()),
        pa.field("experts", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
"""``image_sha256`` is of the pixels; ``experts`` is the digest of the pair."""

SQUARE_BUCKET = 5
_PILLOW_FORMATS = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}


class GenerateWorker:
    """Samples the prompts of one part."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Fetch and check the pair, and load it."""
        from pangu.generate import Generator
        from pangu.pipeline import load_experts
        from ray_jobs.device import torch_device

        assert isinstance(setup.config, GenerateImages)
        self.config, self.store, self.prompts = setup.config, setup.store, setup.inputs["prompts"]
        self.experts = setup.inputs["experts"].digest
        with tempfile.TemporaryDirectory(prefix="pangu-experts-") as name:
            folder = fetch_version(setup.store, setup.inputs["experts"], Path(name))
            pipeline = load_experts(folder, torch_device(setup.config.runtime))
        self.generator = Generator(pipeline, rows_per_batch=setup.config.batch_size)

    def __call__(self, part: str) -> pa.Table:
        """All rows of a part of ``prompts``, times the samples wanted of each."""
        prompts = read_part(self.store, self.prompts, part).to_pylist()
        rows = [self._row(prompt, index) for prompt in prompts for index in range(self.config.samples_per_prompt)]
        wanted = []
        for row in rows:
            if row["reason"] is None:
                request = self._request(row)
                try:
                    self.generator.check(request)
                except ValueError as error:
                    row["reason"] = f"refused: {error}"
                    continue
                wanted.append((row, request))
        for (row, _), made in zip(wanted, self.generator.generate([request for _, request in wanted]), strict=True):
            data = encode_picture(Image.fromarray(made.image), self.config.encode_format)
            row["image"] = {"bytes": data, "path": f"{row['key'].replace('/', '-')}.{self.config.encode_format}"}
            row["height"], row["width"] = made.image.shape[:2]
            row["image_sha256"] = made.sha256
        return pa.Table.from_pylist(rows, schema=GENERATED)

    def _row(self, prompt: dict[str, Any], index: int) -> dict[str, Any]:
        from pangu.generate import row_seed

        carried = {name: prompt[name] for name in ("prompt_id", "prompt", "language", "style", "attributes", "reason")}
        bucket = SQUARE_BUCKET if prompt["bucket"] is None else prompt["bucket"]
        return (
            dict.fromkeys(GENERATED.names)
            | carried
            | {
                "key": f"{prompt['prompt_id']}/{index}",
                "sample_index": index,
                "seed": row_seed(prompt["prompt_id"], index, self.config.run_seed),
                "bucket": bucket,
                "experts": self.experts,
            }
        )

    def _request(self, row: dict[str, Any]) -> Any:  # noqa: ANN401 pangu is imported where models are wanted
        from pangu.generate import GenerationRequest

        styles = dict(self.config.style_scales)
        if row["style"] is not None and self.config.prompt_style_scale:
            styles[row["style"]] = self.config.prompt_style_scale
        return GenerationRequest(
            key=row["key"],
            prompt=row["prompt"],
            seed=row["seed"],
            bucket=row["bucket"],
            steps=self.config.steps,
            guidance=self.config.guidance,
            styles=styles,
        )


def encode_picture(picture: Image.Image, encode_format: str) -> bytes:
    """An encoded file; PNG and WebP keep every pixel."""
    buffer = io.BytesIO()
    settings: dict[str, Any] = {"lossless": True} if encode_format == "webp" else {}
    picture.save(buffer, _PILLOW_FORMATS[encode_format], **({"quality": 95} if encode_format == "jpg" else settings))
    return buffer.getvalue()


def run(context: JobContext[GenerateImages]) -> Manifest:
    """One part of the prompts after the other."""
    names = [part.name for part in context.input("prompts").parts]
    summaries = run_parts(context, names, GenerateWorker)
    return context.commit_parts(summaries, facts={"experts": context.input("experts").key})
