"""score_images: one decode a picture, then embedding, aesthetic, cartoon, caption similarity and hashes."""

from pathlib import Path

import pyarrow as pa

from curation.aesthetic_scorer import AestheticScorer
from curation.cartoon_classifier import CartoonClassifier
from curation.clip_scorer import ClipScorer, resolve_clip_folder
from curation.scoring import score_part
from ray_jobs.device import torch_device
from ray_jobs.job import JobContext
from ray_jobs.job_configs import ScoreImages, model_folder
from ray_jobs.manifest import Manifest
from ray_jobs.part_runner import WorkerSetup, run_parts
from ray_jobs.parts import read_part


class ScoreWorker:
    """Scores the pictures of one part."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Load the CLIP and the heads that were fitted to it."""
        config = setup.config
        assert isinstance(config, ScoreImages)
        self.store, self.images = setup.store, setup.inputs["images"]
        folder = resolve_clip_folder(model_folder("scorer", config.scorer))
        self.scorer = ClipScorer(folder, torch_device(config.runtime), batch_size=config.batch_size)
        fingerprint = self.scorer.fingerprint
        self.aesthetic = AestheticScorer.load(head_path(folder, "aesthetic_head", config.aesthetic_head), fingerprint)
        self.cartoon = CartoonClassifier.load(head_path(folder, "cartoon_head", config.cartoon_head), fingerprint)

    def __call__(self, part: str) -> pa.Table:
        """All rows of a part of ``images`` as ``scores`` rows."""
        return score_part(read_part(self.store, self.images, part), self.scorer, self.aesthetic, self.cartoon)


def head_path(folder: Path, name: str, given: str | None) -> Path:
    """The head given in the config, or the scorer folder's own."""
    return Path(given) if given else folder / f"{name}.safetensors"


def run(context: JobContext[ScoreImages]) -> Manifest:
    """Part by part, as ``images`` is laid out."""
    names = [part.name for part in context.input("images").parts]
    return context.commit_parts(run_parts(context, names, ScoreWorker))
