"""The row of a generated picture, from its prompt's row on."""

from typing import Any

import pyarrow as pa

from ray_jobs.job_configs import GenerateImages

GENERATED = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string()),
        pa.field("sample_index", pa.int32()),
        pa.field("seed", pa.int64()),
        pa.field("prompt", pa.string()),
        pa.field("enhanced_prompt", pa.string()),
        pa.field("negative", pa.string()),
        pa.field("language", pa.string()),
        pa.field("bucket", pa.int32()),
        pa.field("style", pa.string()),
        pa.field("category", pa.string()),
        pa.field("strata", pa.list_(pa.string())),
        pa.field("attributes", pa.string()),
        pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("image_sha256", pa.string()),
        pa.field("encoded_sha256", pa.string()),
        pa.field("filter_scores", pa.string()),
        pa.field("experts", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
"""``prompt`` is what was asked for, ``enhanced_prompt`` what was drawn in its place, if anything. ``image_sha256`` is of
the pixels that were encoded, watermark and all; ``encoded_sha256`` of the file before it was signed; ``experts`` is the
digest of the model; ``filter_scores`` is JSON."""

_CARRIED = (
    "prompt_id",
    "prompt",
    "negative",
    "language",
    "bucket",
    "style",
    "category",
    "strata",
    "attributes",
    "reason",
)

_MAX_SEED = 2**63


def begin_row(prompt: dict[str, Any], index: int, config: GenerateImages, model: str) -> dict[str, Any]:
    """A prompt's row for one sample, without a picture yet. model: digest of what will make it.

    The seed is drawn from the prompt's id; a prompt's own seed is that of sample 0, and the others count on from it.
    """
    from pangu.generation_request import row_seed

    own = prompt.get("seed")
    seed = row_seed(prompt["prompt_id"], index, config.run_seed) if own is None else int(own + index) % _MAX_SEED
    return (
        dict.fromkeys(GENERATED.names)
        | {name: prompt.get(name) for name in _CARRIED}
        | {
            "key": f"{prompt['prompt_id']}/{index}",
            "sample_index": index,
            "seed": seed,
            "negative": prompt.get("negative") or config.negative or None,
            "experts": model,
        }
    )
