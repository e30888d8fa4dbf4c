"""evaluate_images: one decode and one pass per extractor over both sets of pictures, then metrics with intervals."""

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from curation.clip_scorer import ClipScorer, resolve_clip_folder
from curation.crop_plan import CropPlan, apply_crop
from curation.decode import decode_rgb
from pangu.evaluation.features import CallableFeatures, FeatureExtractor, ImageFeatures
from pangu.evaluation.metrics import CaptionPair, EvaluationInput, FeaturePair, evaluate
from pangu.evaluation.random_features import RandomFeatures
from ray_jobs.device import torch_device
from ray_jobs.errors import JobError
from ray_jobs.job import JobContext
from ray_jobs.job_configs import EvaluateImages, model_folder
from ray_jobs.manifest import Manifest
from ray_jobs.part_runner import WorkerSetup, map_parts
from ray_jobs.parts import not_digested, read_part, read_rows, write_part

GENERATED, REFERENCE = "generated_images", "training_set"
LOGIT_SCALE = 100.0
METRICS = pa.schema(
    [
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("stratum", pa.string()),
        ("extractor", pa.string()),
        ("note", pa.string()),
    ]
)


class FeatureWorker:
    """Every extractor's features for the pictures of one part, generated or reference."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Load the extractors once."""
        assert isinstance(setup.config, EvaluateImages)
        self.store, self.inputs, self.config = setup.store, setup.inputs, setup.config
        self.scorer = ClipScorer(scorer_folder(self.config), torch_device(self.config.runtime))
        self.extractors = make_extractors(self.config, self.scorer)
        self.references = choose_references(setup)

    def __call__(self, part: str) -> pa.Table:
        """Rows ``key, source, style, language, bucket`` and one list column per extractor; ``prompt`` embeddings too."""
        source, _, name = part.partition(":")
        rows, pictures = self._generated(name) if source == GENERATED else self._references(name)
        columns: dict[str, Any] = {"source": [source] * len(rows)}
        for field in ("key", "style", "language", "bucket"):
            columns[field] = pa.array([row.get(field) for row in rows], pa.string())
        for index, extractor in enumerate(self.extractors):
            found = extractor.extract(pictures) if pictures else empty_features(extractor)
            columns[f"features_{index}"] = list(found.features)
            columns[f"logits_{index}"] = list(found.logits) if found.logits is not None else [None] * len(rows)
        prompts = [row["prompt"] for row in rows if row.get("prompt")]
        embedded = iter(self.scorer.embed_texts(prompts) if prompts else ())
        columns["prompt_embedding"] = [next(embedded) if row.get("prompt") else None for row in rows]
        return pa.table({name: _as_column(name, values) for name, values in columns.items()})

    def _generated(self, name: str) -> tuple[list[dict[str, Any]], list[Any]]:
        wanted = ["key", "prompt", "style", "language", "bucket", "image", "reason"]
        rows = [
            r for r in read_part(self.store, self.inputs[GENERATED], name, wanted).to_pylist() if r["reason"] is None
        ]
        pictures = [np.asarray(Image.open(io.BytesIO(row.pop("image")["bytes"])).convert("RGB")) for row in rows]
        return [{**row, "bucket": str(row["bucket"])} for row in rows], pictures

    def _references(self, name: str) -> tuple[list[dict[str, Any]], list[Any]]:
        chosen = [row for row in self.references if row["image_part"] == name]
        stored = read_part(self.store, self.inputs["images"], name, ["image"]).column("image")
        pictures = []
        for row in chosen:
            picture = decode_rgb(stored[row["image_row"]].as_py()["bytes"])
            pictures.append(np.asarray(apply_crop(picture, CropPlan(**row["structure_crop"]))))
        return [{"key": r["key"], "style": r["style"], "bucket": str(r["bucket"])} for r in chosen], pictures


def _as_column(name: str, values: Any) -> pa.Array:  # noqa: ANN401
    if name.startswith(("features_", "logits_", "prompt_embedding")):
        return pa.array(values, pa.list_(pa.float32()))
    return pa.array(values, pa.string())


def scorer_folder(config: EvaluateImages) -> Path:
    """Where the CLIP of the scores stands."""
    return resolve_clip_folder(model_folder("scorer", config.scorer))


def make_extractors(config: EvaluateImages, scorer: ClipScorer) -> list[FeatureExtractor]:
    """An untrained network that is partial to nobody, the scorer with its flag, and Inception where there are weights."""
    texts = scorer.embed_texts([f"a {name}" for name in config.classes])
    extractors: list[FeatureExtractor] = [
        RandomFeatures(),
        CallableFeatures(
            scorer.embed_images,
            name="sample-scorer" if config.scorer == "sample" else Path(config.scorer).name,
            fingerprint=scorer.fingerprint,
            num_dims=scorer.width,
            resize_mode="the scorer's own",
            other_uses=("scored the training pictures", "conditioned the sample experts with its text tower"),
            logits=lambda features: LOGIT_SCALE * features @ texts.T,
        ),
    ]
    if config.inception_weights:
        from pangu.evaluation.inception_features import InceptionFeatures

        extractors.append(InceptionFeatures(Path(config.inception_weights)))
    return extractors


def empty_features(extractor: FeatureExtractor) -> ImageFeatures:
    """No pictures, no features."""
    return ImageFeatures(extractor.card, np.zeros((0, extractor.card.num_dims), np.float32))


def choose_references(setup: WorkerSetup) -> list[dict[str, Any]]:
    """The kept pictures to compare with: the first ``num_reference`` in key order, which is a hash's order."""
    assert isinstance(setup.config, EvaluateImages)
    wanted = ["key", "reason", "style", "bucket", "image_part", "image_row", "structure_crop"]
    rows = read_rows(setup.store, setup.inputs[REFERENCE], wanted).to_pylist()
    kept = sorted((row for row in rows if row["reason"] is None), key=lambda row: str(row["key"]))
    return kept[: setup.config.num_reference]


def run(context: JobContext[EvaluateImages]) -> Manifest:
    """Features of both sides on Ray Data, then the metrics here."""
    parts = [f"{GENERATED}:{part.name}" for part in context.input(GENERATED).parts]
    parts += [f"{REFERENCE}:{part.name}" for part in context.input("images").parts]
    table = pa.concat_tables(map_parts(context, parts, FeatureWorker)).sort_by(
        [("source", "ascending"), ("key", "ascending")]
    )
    sides = {source: table.filter(pc.equal(table["source"], source)) for source in (GENERATED, REFERENCE)}
    for source, rows in sides.items():
        if rows.num_rows < 2:
            raise JobError(f"evaluate_images: {rows.num_rows} pictures in {source}; at least 2 are needed")
    given = evaluation_input(context.config, sides)
    rows = [asdict(row) for row in evaluate(given, seed=context.config.seed)]
    metrics = pa.Table.from_pylist(rows, schema=METRICS)
    summary = write_part(context.store, context.prefix, "00000-of-00001.parquet", metrics, not_digested("metrics"))
    numbers = {"generated": sides[GENERATED].num_rows, "reference": sides[REFERENCE].num_rows}
    return context.commit_parts([summary], facts=numbers)


def evaluation_input(config: EvaluateImages, sides: dict[str, pa.Table]) -> EvaluationInput:
    """The library's input from the feature rows of both sides."""
    scorer = ClipScorer(scorer_folder(config))
    pairs = []
    for index, extractor in enumerate(make_extractors(config, scorer)):
        found = [image_features(extractor, sides[source], index) for source in (GENERATED, REFERENCE)]
        pairs.append(FeaturePair(*found))
    generated = sides[GENERATED]
    images = np.asarray(generated["features_1"].to_pylist(), np.float32)
    prompts = np.asarray(generated["prompt_embedding"].to_pylist(), np.float32)
    strata = {name: generated[name].to_pylist() for name in ("style", "language", "bucket")}
    reference = {name: sides[REFERENCE][name].to_pylist() for name in ("style", "bucket")}
    caption_pair = CaptionPair(pairs[1].generated.card, images, prompts)
    return EvaluationInput(features=pairs, captions=[caption_pair], strata=strata, reference_strata=reference)


def image_features(extractor: FeatureExtractor, rows: pa.Table, index: int) -> ImageFeatures:
    """One extractor's features (N, D) and logits (N, C) from the rows."""
    features = np.asarray(rows[f"features_{index}"].to_pylist(), np.float32)
    logits = rows[f"logits_{index}"].to_pylist()
    found = None if any(row is None for row in logits) else np.asarray(logits, np.float32)
    return ImageFeatures(extractor.card, features, found)
