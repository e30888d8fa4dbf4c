"""The configuration of the jobs of the prompt enhancer: pairs, supervised fine-tuning, rounds of RAFT, publishing."""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ray_jobs.config_model import FrozenModel, JobConfig, Share
from ray_jobs.generation_configs import GenerateImages

CHAMPION = "champion:enhancer"
"""The input that is an earlier, published enhancer."""


class RegisterPairs(JobConfig):
    """Where annotated pairs come from; several sources add up."""

    path: str | None = Field(
        None, description="jsonl, csv, tsv or parquet with short, enriched, language, author, licence"
    )
    label_studio: str | None = Field(None, description="a Label Studio export (JSON)")
    licence: str | None = Field(None, description="of what the annotators of that export wrote")
    short_field: str = Field("prompt", description="the export's data field with the short prompt")
    enriched_areas: tuple[str, ...] = Field(("enriched",), description="the export's text areas with the enrichment")
    starter: bool = Field(True, description="add the pairs that ship, 104 English and 104 Chinese")
    scene_pairs: int = Field(0, ge=0, description="add so many pairs of the drawn world, for the sample")
    held_out_share: Share = Field(0.1, description="kept out of training, to measure the loss on")
    max_faulty_share: Share = Field(0.1, description="the run fails when more than this share of the rows has a fault")
    rows_per_part: int = Field(1000, ge=1)

    def paths(self) -> Iterable[str]:
        """The files' contents decide."""
        return ("path", "label_studio")

    @model_validator(mode="after")
    def _check_licence(self) -> "RegisterPairs":
        if self.label_studio is not None and not self.licence:
            raise ValueError("licence: a Label Studio export names none; state the one of what its annotators wrote")
        return self


class Lora(FrozenModel):
    """Low-rank adapters instead of all weights; merged before they are stored."""

    rank: int = Field(0, ge=0, description="0: all weights learn")
    alpha: float = Field(16.0, gt=0)


class FineTuning(FrozenModel):
    """Steps and optimiser of one fine-tuning."""

    steps: int = Field(300, ge=0)
    batch_size: int = Field(16, ge=1, description="over all processes")
    learning_rate: float = Field(5e-4, gt=0)
    warmup_steps: int = Field(10, ge=0)
    kl_weight: float = Field(0.0, ge=0, description="of KL(model || the model before) at the answer's tokens")
    max_tokens: int = Field(256, ge=8)
    checkpoint_every: int = Field(100, ge=1)
    lora: Lora = Lora()


class TrainEnhancer(JobConfig):
    """Supervised fine-tuning of a causal language model on annotated pairs."""

    threads_decide: ClassVar[bool] = True
    model: str = Field("scratch", description="a folder or hub id@revision; 'scratch': a small one from nothing")
    template: Literal["plain", "chat"] = "plain"
    shape: Literal["sample", "tiny"] = Field("sample", description="of the model from nothing")
    vocabulary: int = Field(2048, ge=300, description="of the model from nothing")
    text_steps: int = Field(0, ge=0, description="first learn so many steps from the enriched texts alone")
    tuning: FineTuning = FineTuning()
    temperature: float = Field(0.9, ge=0, le=5)
    top_p: float = Field(0.95, gt=0, le=1)
    max_new_tokens: int = Field(96, ge=1)
    seed: int = 0
    data_parallel: int = Field(1, ge=1, description="training processes; equal numbers give equal bits")

    def paths(self) -> Iterable[str]:
        """The model's weights decide by content."""
        return ("model",)


class RaftEnhancer(JobConfig):
    """Rounds of RAFT: expansions, their pictures and rewards, the winners, fine-tuning on them, held-out figures."""

    threads_decide: ClassVar[bool] = True
    prompts: str = Field("scenes", description="'scenes': short prompts of the drawn world; else a prompt file")
    num_prompts: int = Field(48, ge=1, description="b: prompts of one round, drawn anew for each")
    num_held_out: int = Field(96, ge=2, description="prompts that no round learns from")
    expansions: int = Field(4, ge=2, description="K of each prompt")
    rounds: int = Field(3, ge=0)
    images: GenerateImages = Field(
        GenerateImages(steps=20, guidance=3.0), description="how pictures are made; as of generate_images"
    )
    scorer: str = Field("sample", description="the rewards' CLIP: 'sample', an open_clip folder, or hub id@revision")
    aesthetic_head: str | None = Field(None, description="safetensors head; the scorer folder's own where it has one")
    weights: dict[str, float] = Field(
        {"aesthetic": 0.5, "clip_similarity": 1.0}, description="of each reward, z-scored within the K"
    )
    rewards: dict[str, str] = Field({}, description="further rewards, name to module:factory (see pangu.reward)")
    judge: str = Field("scenes", description="held-out scorer: 'scenes', or an open_clip folder that gave no reward")
    temperature: float = Field(1.0, ge=0, le=5)
    top_p: float = Field(0.98, gt=0, le=1)
    max_words: int = Field(90, ge=3, description="longer expansions cannot win")
    tuning: FineTuning = FineTuning(steps=120, learning_rate=3e-4)
    replay_share: Share = Field(0.0, description="share of annotated pairs among the winners")
    patience: int = Field(2, ge=1, description="rounds without a better held-out win rate before it stops")
    reach: float | None = Field(None, gt=0, le=1, description="stop at this held-out win rate")
    champion: str | None = Field(None, description="alias or key of a published enhancer to compare with, if any")
    expand_batch: int = Field(16, ge=1, description="rows of one padded batch of texts")
    prompts_per_part: int = Field(16, ge=1)
    seed: int = 0
    data_parallel: int = Field(1, ge=1)

    def paths(self) -> Iterable[str]:
        """Weights and prompt files decide by content."""
        return ("prompts", "scorer", "aesthetic_head", "judge")

    def wanted_inputs(self, optional: tuple[str, ...]) -> tuple[str, ...]:
        """The published pair, unless the pictures are another model's; the pairs, where some are replayed."""
        wanted = {
            "experts": self.images.model == "experts",
            "pairs": self.replay_share > 0,
            CHAMPION: self.champion is not None,
        }
        return tuple(name for name in optional if wanted[name])

    @property
    def generation(self) -> GenerateImages:
        """How pictures are made, where this job runs."""
        return self.images.model_copy(update={"runtime": self.runtime})

    def reference_of(self, artifact: str) -> str:
        """The champion by its alias; of all else the newest."""
        return f"enhancer@{self.champion}" if artifact == "enhancer" else artifact

    def decisive(self) -> dict[str, Any]:
        """As of every job, and of the pictures what decides those; of the champion, the version that it is."""
        fields = super().decisive()
        del fields["champion"]
        fields["images"] = self.generation.decisive()
        del fields["prompts_per_part"]
        return fields

    @model_validator(mode="after")
    def _check_weights(self) -> "RaftEnhancer":
        known = {"aesthetic", "clip_similarity", *self.rewards}
        if not self.weights or set(self.weights) - known:
            raise ValueError(f"weights: got {sorted(self.weights)}, accepted are some of {sorted(known)}")
        return self


class PublishEnhancer(JobConfig):
    """Which round is published, and when it becomes the candidate."""

    round: int | None = Field(None, ge=0, description="the best on held-out prompts where absent")
    candidate: str = Field("candidate", description="alias that moves to the version if it wins")
    note: str = ""


class PublishEnhancement(JobConfig):
    """What the enhancer's own site is called."""

    title: str = "Prompt enhancer"


ENHANCER_CONFIGS: dict[str, type[JobConfig]] = {
    "register_pairs": RegisterPairs,
    "train_enhancer": TrainEnhancer,
    "raft_enhancer": RaftEnhancer,
    "publish_enhancer": PublishEnhancer,
    "publish_enhancement": PublishEnhancement,
}
