"""Scores one part of `images`: one decode a picture, everything else is computed from that."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from curation.aesthetic_scorer import AestheticScorer
from curation.cartoon_classifier import CartoonClassifier
from curation.clip_scorer import ClipScorer, Embeddings
from curation.decode import DecodeSettings, decode_rgb
from curation.errors import PictureError
from curation.fingerprint import colour_layout, perceptual_hash
from curation.records import SCORES

_LUMA_SIDE_PX = 64


def score_part(
    images: pa.Table,
    scorer: ClipScorer,
    aesthetic: AestheticScorer,
    cartoon: CartoonClassifier,
    decode: DecodeSettings | None = None,
) -> pa.Table:
    """The `scores` rows of these `images` rows, in the same order; a row that left before keeps its reason.

    Memory: the encoded part, plus one decoded picture and the model's inputs.
    """
    names = ["key", "reason", "image", "captions_en", "captions_zh"]
    records = images.select(names).to_pylist()
    version = f"clip:{scorer.version} aesthetic:{aesthetic.version} cartoon:{cartoon.version}"
    rows: list[dict[str, Any]] = []
    inputs, scored = [], []
    for record in records:
        row = dict.fromkeys(SCORES.names) | {"key": record["key"], "reason": record["reason"], "scorer": version}
        rows.append(row)
        if record["reason"] is not None:
            continue
        try:
            picture = decode_rgb(record["image"]["bytes"], decode)
        except PictureError as error:
            row["reason"] = error.reason.value
            continue
        row["perceptual_hash"], row["mean_luma"] = perceptual_hash(picture), mean_luma(picture)
        row["colour_layout"] = colour_layout(picture)
        inputs.append(scorer.preprocess(picture))
        scored.append((row, record))
    embeddings = scorer.embed_preprocessed(inputs)
    aesthetics, probabilities = aesthetic(embeddings), cartoon(embeddings)
    similarities = {
        language: caption_similarities(embeddings, [record[f"captions_{language}"] for _, record in scored], scorer)
        for language in ("en", "zh")
    }
    for index, (row, _) in enumerate(scored):
        row["clip_embedding"] = embeddings[index]
        row["aesthetic"] = float(aesthetics[index])
        row["cartoon_probability"] = float(probabilities[index])
        for language, values in similarities.items():
            row[f"caption_similarity_{language}"] = values[index]
    return pa.Table.from_pylist(rows, schema=SCORES)


def caption_similarities(
    embeddings: Embeddings, captions: Sequence[Sequence[str] | None], scorer: ClipScorer
) -> list[float | None]:
    """For each picture the largest cosine over its captions, None where it has none; each caption is embedded once."""
    unique = sorted({caption for texts in captions for caption in texts or ()})
    position = {caption: index for index, caption in enumerate(unique)}
    texts_embedded = scorer.embed_texts(unique).astype(np.float64)
    values: list[float | None] = []
    for embedding, texts in zip(embeddings, captions, strict=True):
        rows = [position[caption] for caption in texts or ()]
        # one product and sum a row: a matrix product's rounding would depend on how many captions there are
        cosines = (texts_embedded[rows] * embedding.astype(np.float64)).sum(axis=1)
        values.append(float(cosines.max()) if rows else None)
    return values


def mean_luma(picture: Image.Image) -> float:
    """Mean brightness in [0, 1]."""
    factor = max(1, min(picture.size) // _LUMA_SIDE_PX)
    return float(np.asarray(picture.reduce(factor).convert("L"), dtype=np.float64).mean() / 255.0)
