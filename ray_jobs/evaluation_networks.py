"""The feature networks of an evaluation and the metrics that read them, as the job's config asks for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from curation.aesthetic_scorer import AestheticScorer
from curation.cartoon_classifier import CartoonClassifier
from curation.clip_scorer import ClipScorer, resolve_clip_folder
from pangu.evaluation.distribution_metrics import (
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    ManifoldOverlap,
    cmmd,
)
from pangu.evaluation.features import CallableFeatures, ExtractorCard, FeatureExtractor
from pangu.evaluation.image_metrics import ClipScore, HeadMean, HeadRate
from pangu.evaluation.metric import ImageMetric, Metric, TextEmbedder
from pangu.evaluation.random_features import RandomFeatures
from ray_jobs.job_configs import EvaluateImages, digest_of_path, model_folder
from ray_jobs.manifest import Manifest

LOGIT_SCALE = 100.0
CONDITIONED = "conditioned the sample experts, with an earlier form of its text tower"
UNTRAINED, SCORER, CHINESE = "untrained", "scorer", "clip_zh"
"""Names by which metrics know their networks; the others are those of their settings."""


@dataclass
class Networks:
    """Networks by name, the metrics that read them, and the text towers of those that have one."""

    extractors: dict[str, FeatureExtractor] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    text_embedders: dict[str, TextEmbedder] = field(default_factory=dict)

    @property
    def cards(self) -> Mapping[str, ExtractorCard]:
        """What stands beside the numbers of each network."""
        return {name: extractor.card for name, extractor in self.extractors.items()}

    @property
    def cartoon_threshold(self) -> float | None:
        """From which probability on a picture counts as a cartoon; None without a cartoon head."""
        return next((each.threshold for each in self.metrics if isinstance(each, HeadRate)), None)

    @property
    def reference_metrics(self) -> list[Metric]:
        """Those that look at the reference at all: of it, the others need nothing."""
        return [m for m in self.metrics if not isinstance(m, ImageMetric) and not m.needs.logits]


def load_networks(config: EvaluateImages, scores: Manifest | None, device: str) -> Networks:
    """An untrained network that is partial to nobody, the scorer, and every network whose weights are given.

    scores: the training pictures' scores, which say whether this very scorer has chosen those pictures. Without a
    reference there are only the metrics that need none, and the networks that they read.
    """
    found = _every_network(config, scores, device)
    if config.reference != "none":
        return found
    metrics = [metric for metric in found.metrics if metric not in found.reference_metrics]
    read = {metric.extractor for metric in metrics}
    extractors = {name: each for name, each in found.extractors.items() if name in read}
    return Networks(extractors, metrics, found.text_embedders)


def _every_network(config: EvaluateImages, scores: Manifest | None, device: str) -> Networks:
    found = Networks()
    found.extractors[UNTRAINED] = RandomFeatures()
    found.metrics += [KernelDistance(UNTRAINED), FrechetDistance(UNTRAINED, at_infinity=False)]
    _add_scorer(found, config, scores, device)
    _add_published(found, config, device)
    if config.chinese_scorer:
        same = identity_of(config.chinese_scorer) == identity_of(config.scorer)
        uses = uses_of_scorer(config.chinese_scorer, scores) if same else ()
        clip = ClipScorer(resolve_clip_folder(config.chinese_scorer), device)
        found.extractors[CHINESE] = clip_features(clip, Path(config.chinese_scorer).name, uses)
        found.text_embedders[CHINESE] = clip.embed_texts
        found.metrics.append(ClipScore(CHINESE, name="cn_clip_score", language="zh"))
    return found


def _add_scorer(found: Networks, config: EvaluateImages, scores: Manifest | None, device: str) -> None:
    """The CLIP of the scores: its own distances, the agreement with the prompts, and what its heads say."""
    folder = resolve_clip_folder(model_folder("scorer", config.scorer))
    clip = ClipScorer(folder, device)
    name = "sample-scorer" if config.scorer == "sample" else Path(config.scorer).name
    texts = clip.embed_texts([f"a {each}" for each in config.classes])
    found.extractors[SCORER] = clip_features(clip, name, uses_of_scorer(config.scorer, scores), texts)
    found.text_embedders[SCORER] = clip.embed_texts
    found.metrics += [
        KernelDistance(SCORER),
        FrechetDistance(SCORER, at_infinity=False),
        InceptionScore(SCORER),
        ClipScore(SCORER),
        cmmd(SCORER),
    ]
    heads = {"aesthetic": config.aesthetic_head, "cartoon": config.cartoon_head}
    paths = {each: Path(given) if given else folder / f"{each}_head.safetensors" for each, given in heads.items()}
    if heads["aesthetic"] or paths["aesthetic"].is_file():
        aesthetic = AestheticScorer.load(paths["aesthetic"], clip.fingerprint)
        found.metrics.append(HeadMean(SCORER, "aesthetic", aesthetic))
    if heads["cartoon"] or paths["cartoon"].is_file():
        cartoon = CartoonClassifier.load(paths["cartoon"], clip.fingerprint)
        found.metrics.append(HeadRate(SCORER, "cartoon_rate", cartoon, threshold=cartoon.high))


def _add_published(found: Networks, config: EvaluateImages, device: str) -> None:
    """Networks that others publish numbers on; precision, recall and so on by each of them."""
    if config.inception_weights:
        from pangu.evaluation.inception_features import InceptionFeatures

        found.extractors["inception"] = InceptionFeatures(Path(config.inception_weights), device=device)
        found.metrics += [KernelDistance("inception"), FrechetDistance("inception"), InceptionScore("inception")]
    if config.mobilenet_weights:
        from pangu.evaluation.mobilenet_features import MobileNetFeatures

        found.extractors["mobilenet"] = MobileNetFeatures(Path(config.mobilenet_weights), device=device)
        found.metrics += [KernelDistance("mobilenet"), FrechetDistance("mobilenet"), InceptionScore("mobilenet")]
    if config.dinov2:
        from pangu.evaluation.dinov2_features import Dinov2Features

        found.extractors["dinov2"] = Dinov2Features(Path(config.dinov2), device=device)
        found.metrics.append(FrechetDistance("dinov2", named="fd_dinov2"))
    names = ("inception", "mobilenet", "dinov2")
    found.metrics += [ManifoldOverlap(name) for name in names if name in found.extractors]


def clip_features(
    clip: ClipScorer, name: str, uses: tuple[str, ...], class_texts: np.ndarray | None = None
) -> CallableFeatures:
    """A CLIP's image tower; class_texts: (C, E) embeddings of classes, for logits."""
    return CallableFeatures(
        clip.embed_images,
        name=name,
        fingerprint=clip.fingerprint,
        num_dims=clip.width,
        resize_mode="the scorer's own",
        other_uses=uses,
        logits=None if class_texts is None else lambda features: class_logits(features, class_texts),
    )


def class_logits(features: np.ndarray, class_texts: np.ndarray) -> np.ndarray:
    """(N, C) logits of features (N, E) and class_texts (C, E), each row by itself: a matrix product's last bits know N."""
    wide = features.astype(np.float64)
    return LOGIT_SCALE * np.stack([(wide * text).sum(axis=1) for text in class_texts], axis=1)


def uses_of_scorer(scorer: str, scores: Manifest | None) -> tuple[str, ...]:
    """What else this CLIP did to the pictures that it now judges; where the scores do not say, it is taken to have."""
    own = identity_of(scorer)
    uses = []
    if scores is not None and scores.config.get("scorer", own) == own:
        uses.append("scored the training pictures")
    if own == identity_of("sample"):
        uses.append(CONDITIONED)
    return tuple(uses)


def identity_of(scorer: str) -> str:
    """How a version's config names a scorer: by its content where it is a folder, else as it is written."""
    folder = Path(model_folder("scorer", scorer))
    return f"content:{digest_of_path(folder)}" if folder.exists() else scorer
