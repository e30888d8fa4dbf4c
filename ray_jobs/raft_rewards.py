"""The rewards that RAFT chases, from curation's scoring classes, and the held-out scorers, which give none of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.aesthetic_scorer import AestheticScorer
from curation.clip_scorer import ClipScorer, clip_fingerprint, resolve_clip_folder
from curation.sample.asked_thing import picture_score
from curation.sample.scene_judge import SceneJudge
from curation.sample.scenes import Scene
from pangu.reward import Candidate, load_reward
from ray_jobs.device import torch_device
from ray_jobs.enhancer_configs import RaftEnhancer
from ray_jobs.job_configs import SAMPLE_MODELS, model_folder
from ray_jobs.score_images import head_path

Floats = NDArray[np.float64]
UInt8Image = NDArray[np.uint8]
Images = Sequence[UInt8Image]


class Rewards:
    """Every reward term of a run; the CLIP embeds each picture once for both of its terms."""

    def __init__(self, config: RaftEnhancer) -> None:
        """Load what the weights ask for."""
        self.others = {name: load_reward(config.rewards[name]) for name in sorted(config.rewards)}
        self.clip: ClipScorer | None = None
        self.aesthetic: AestheticScorer | None = None
        wanted = {"aesthetic", "clip_similarity"} & set(config.weights)
        if wanted:
            folder = resolve_clip_folder(model_folder("scorer", config.scorer))
            self.clip = ClipScorer(folder, torch_device(config.runtime))
            if "aesthetic" in wanted:
                path = head_path(folder, "aesthetic_head", config.aesthetic_head)
                self.aesthetic = AestheticScorer.load(path, self.clip.fingerprint)
        self.names = tuple(config.weights)

    def __call__(self, images: Images, candidates: Sequence[Candidate]) -> dict[str, Floats]:
        """Name -> (N,) scores; similarity is taken against the original prompt."""
        found: dict[str, Floats] = {}
        if self.clip is not None:
            embedded = self.clip.embed_images(images)
            if self.aesthetic is not None:
                found["aesthetic"] = self.aesthetic(embedded).astype(np.float64)
            texts = self.clip.embed_texts([candidate.prompt for candidate in candidates])
            found["clip_similarity"] = (embedded.astype(np.float64) * texts).sum(axis=1)
        for name, reward in self.others.items():
            found[name] = np.asarray(reward(images, candidates), np.float64)
        return {name: found[name] for name in self.names}


class ScenesScorer:
    """The scene judge: whether the asked thing is drawn, and cleanly. It trains, filters and rewards nothing."""

    name = "scene judge: the asked thing is drawn, on a background it is sure of"

    def __init__(self) -> None:
        """Load the judge that ships."""
        self.judge = SceneJudge.load(SAMPLE_MODELS / "judge")

    def __call__(self, images: Images, candidates: Sequence[Candidate]) -> Floats:
        """(N,) log-probabilities. ValueError for a prompt that describes no scene."""
        if any(not candidate.attributes for candidate in candidates):
            raise ValueError("judge: 'scenes' reads prompts of the drawn world; for others name an open_clip folder")
        scenes = [Scene.from_json(candidate.attributes or "") for candidate in candidates]
        return picture_score(self.judge.read(list(images)), scenes)


class ClipAgreement:
    """Another CLIP's agreement of picture and original prompt."""

    def __init__(self, folder: Path, device: str) -> None:
        """Load it."""
        self.clip = ClipScorer(folder, device)
        self.name = f"CLIP {self.clip.version}: agreement with the original prompt"

    def __call__(self, images: Images, candidates: Sequence[Candidate]) -> Floats:
        """(N,) cosines."""
        texts = self.clip.embed_texts([candidate.prompt for candidate in candidates])
        return np.asarray((self.clip.embed_images(images).astype(np.float64) * texts).sum(axis=1))


def load_held_out_scorer(config: RaftEnhancer) -> Any:  # noqa: ANN401 one of the two above
    """The held-out scorer. ValueError where it is the one that rewards."""
    check_held_out_scorer(config)
    if config.judge == "scenes":
        return ScenesScorer()
    return ClipAgreement(resolve_clip_folder(config.judge), torch_device(config.runtime))


def check_held_out_scorer(config: RaftEnhancer) -> None:
    """ValueError where the held-out scorer has the tensors of the one that rewards."""
    if config.judge == "scenes":
        return
    ours = clip_fingerprint(resolve_clip_folder(config.judge))
    if ours == clip_fingerprint(resolve_clip_folder(model_folder("scorer", config.scorer))):
        raise ValueError(f"judge: {config.judge} is the CLIP that gives the rewards; accepted is another one")
