"""The row at each stage of curation, as Arrow schemas; `reason` is null in a row that is kept.

Columns named in `OBSERVATIONS` say when or in what words something happened and not what it is: they are no part of
a version's digest.
"""

from types import MappingProxyType

import pyarrow as pa

KEY_CHARS = 24
"""A record's key is this many hexadecimal digits of the SHA-256 of its URL."""

IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
"""Encoded picture, in the layout of the Hugging Face `Image` feature."""

CROP = pa.struct(
    [pa.field(name, pa.int32()) for name in ("resize_height", "resize_width", "top", "left", "height", "width")]
)
"""How a stored picture becomes one of a bucket: resize, then cut (px)."""

_CAPTIONS = [pa.field("captions_en", pa.list_(pa.string())), pa.field("captions_zh", pa.list_(pa.string()))]

URL_LIST = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        *_CAPTIONS,
        pa.field("licence", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
"""`sha256` is the hash the bytes must have, or null; `licence` is 'unknown' where the list names none."""

IMAGES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("status", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("image", IMAGE),
        pa.field("sha256", pa.string()),
        pa.field("stored_sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("original_width", pa.int32()),
        pa.field("original_height", pa.int32()),
        pa.field("exif", pa.string()),
        *_CAPTIONS,
        pa.field("licence", pa.string()),
        pa.field("opt_out_evidence", pa.string()),
        pa.field("fetched_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""`status` is success, failed_to_download, failed_to_resize or rejected; `sha256` is of the bytes as fetched,
`stored_sha256` of the bytes in `image`. Stored pixels are upright sRGB RGB of 8 bits, so `width` and `height` are
what a viewer sees; the originals are upright too."""

SCORES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("clip_embedding", pa.list_(pa.float32())),
        pa.field("caption_similarity_en", pa.float32()),
        pa.field("caption_similarity_zh", pa.float32()),
        pa.field("aesthetic", pa.float32()),
        pa.field("cartoon_probability", pa.float32()),
        pa.field("unsafe_probability", pa.float32()),
        pa.field("perceptual_hash", pa.string()),
        pa.field("colour_layout", pa.binary()),
        pa.field("mean_luma", pa.float32()),
        pa.field("scorer", pa.string()),
    ]
)
"""Embeddings are L2-normalised; similarities are cosines, the largest over the captions of that language;
`unsafe_probability` is null where no safety scorer ran; `perceptual_hash` is 16 hexadecimal digits, `colour_layout`
192 bytes of an 8x8 RGB grid, `mean_luma` in [0, 1]."""

TRAINING_SET = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("image_part", pa.string()),
        pa.field("image_row", pa.int64()),
        pa.field("style", pa.string()),
        *_CAPTIONS,
        pa.field("bucket", pa.int32()),
        pa.field("structure_crop", CROP),
        pa.field("texture_crop", CROP),
        pa.field("texture_eligible", pa.bool_()),
        pa.field("aesthetic", pa.float32()),
        pa.field("cartoon_probability", pa.float32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
    ]
)
"""`image_part` and `image_row` point into `images`; captions carry the style prefix."""

OBSERVATIONS: MappingProxyType[str, frozenset[str]] = MappingProxyType(
    {
        "url_list": frozenset(),
        "images": frozenset({"fetched_at", "error_message"}),
        "scores": frozenset(),
        "training_set": frozenset(),
    }
)
