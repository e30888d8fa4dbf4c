"""The chain: every arrow is one Ray job, every name one versioned artifact. Standard library only.

url_file -> url_list -> images -> scores -> training_set -> expert_structure -+-> experts -> generated_images -> metrics
                                                        \\-> expert_texture  -/      ^             ^               |
                                                             (from expert_shared)   base       prompts            nights
                                                                                          dashboard <- history <-/
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Artifact:
    """A named, versioned thing in the store."""

    name: str
    holds: str
    not_digested: frozenset[str] = field(default_factory=frozenset)
    """Columns that are observations (times) or physical pointers: stored, but not part of a version's digest."""


@dataclass(frozen=True)
class Job:
    """One arrow of the chain."""

    name: str
    takes: tuple[str, ...]
    gives: str
    does: str
    code_version: int = 1
    """Raised by hand when the same inputs and config would give other rows."""
    optional: tuple[str, ...] = ()
    """Inputs it uses when there are any."""
    collects: str | None = None
    """An artifact of which it takes the newest version of every night, each an input ``night:artifact``."""
    finds: tuple[str, ...] = ()
    """Artifacts of which it takes what its config finds in the store, each an input ``name:artifact``."""


ARTIFACTS = {
    artifact.name: artifact
    for artifact in (
        Artifact("url_list", "one row per URL of the user's list"),
        Artifact(
            "images",
            "one row per URL: the picture, or the reason there is none",
            frozenset({"fetched_at", "error_message"}),
        ),
        Artifact("scores", "one row per picture: embedding, aesthetic, cartoon, similarity, hashes"),
        Artifact(
            "training_set",
            "one row per picture: style, prefixed captions, bucket, crop plans, pointer to the pixels",
            frozenset({"image_part", "image_row"}),
        ),
        Artifact("expert_shared", "one denoiser over all timesteps, from which both experts branch"),
        Artifact("expert_structure", "the denoiser of the noisy half"),
        Artifact("expert_texture", "the denoiser of the clean half"),
        Artifact("experts", "both experts as one diffusers pipeline folder"),
        Artifact("prompts", "one row per prompt"),
        Artifact(
            "generated_images",
            "one row per prompt and sample: the picture, or the reason there is none",
            frozenset({"image"}),  # signed anew in every run; its hash before signing and that of its pixels are in
        ),
        Artifact(
            "style_sweep",
            "one row per style, scale and prompt: what the scorer reads in the picture",
            frozenset({"image"}),
        ),
        Artifact("metrics", "one row per metric and stratum, with its interval"),
        Artifact("nights", "one row per model, metric and stratum of one night, with what was decided on it"),
        Artifact("history", "one row per night, model, metric and stratum, with its alarm"),
        Artifact("pairs", "one row per annotated pair: short and enriched prompt, or what is wrong with it"),
        Artifact("enhancer_sft", "a causal language model, fine-tuned on the pairs"),
        Artifact(
            "raft_rounds",
            "one row per candidate of every round: text, picture, rewards; and the held-out ones",
            frozenset({"image", "expand_s", "draw_s", "score_s"}),
        ),
        Artifact("enhancer", "the language model that enhances prompts"),
        Artifact("enhancement_site", "the static site about one run of RAFT"),
        Artifact("dashboard", "the static site"),
    )
}

JOBS = {
    job.name: job
    for job in (
        Job("register_url_list", (), "url_list", "reads a user's URL list"),
        Job("download_images", ("url_list",), "images", "fetches, checks and shrinks pictures"),
        Job("score_images", ("images",), "scores", "one decode: embedding, aesthetic, cartoon, hashes"),
        Job("build_training_set", ("images", "scores"), "training_set", "duplicates, rules, style, buckets"),
        Job("train_shared", ("training_set", "images"), "expert_shared", "one model over all timesteps"),
        Job(
            "train_structure",
            ("training_set", "images"),
            "expert_structure",
            "the noisy half",
            optional=("expert_shared",),
        ),
        Job(
            "train_texture", ("training_set", "images"), "expert_texture", "the clean half", optional=("expert_shared",)
        ),
        Job("publish_experts", ("expert_structure", "expert_texture"), "experts", "one pipeline folder with a card"),
        Job("register_prompts", (), "prompts", "reads a prompt file or writes the sample's prompts"),
        Job(
            "generate_images",
            ("prompts",),
            "generated_images",
            "structure steps, then texture steps",
            code_version=2,
            optional=("experts", "enhancer"),
        ),
        Job(
            "register_pictures", ("prompts",), "generated_images", "takes in pictures that another model made of a list"
        ),
        Job(
            "sweep_styles",
            ("prompts",),
            "style_sweep",
            "neutral prompts at every scale of a style",
            optional=("experts",),
        ),
        Job(
            "evaluate_images",
            ("generated_images",),
            "metrics",
            "KID, inception score, CLIP score and others with intervals",
            code_version=3,
            optional=("training_set", "images", "scores"),
        ),
        Job("register_pairs", (), "pairs", "reads and checks annotated pairs"),
        Job("train_enhancer", ("pairs",), "enhancer_sft", "supervised fine-tuning on the pairs"),
        Job(
            "raft_enhancer",
            ("enhancer_sft",),
            "raft_rounds",
            "expansions, pictures, rewards, fine-tuning on the best, held-out figures; again",
            optional=("experts", "pairs", "champion:enhancer"),
        ),
        Job("publish_enhancement", ("raft_rounds",), "enhancement_site", "pictures before and after, curves by round"),
        Job("publish_enhancer", ("enhancer_sft", "raft_rounds"), "enhancer", "the best round, candidate if it wins"),
        Job(
            "compare_models",
            ("champion:metrics", "candidate:metrics"),
            "nights",
            "the night's numbers of both models, their paired differences, and the gate",
        ),
        Job("write_history", (), "history", "every night's numbers with their alarms", collects="nights"),
        Job(
            "publish_dashboard",
            ("history",),
            "dashboard",
            "the static site",
            code_version=3,
            finds=("generated_images", "style_sweep"),
        ),
    )
}


def artifact_of(name: str) -> str:
    """The artifact of an input's name: ``champion:metrics`` is a version of ``metrics`` in the part of the champion."""
    return name.rpartition(":")[2]


def maker_of(artifact: str) -> Job:
    """The job that gives an artifact. ValueError names the artifacts there are."""
    for job in JOBS.values():
        if job.gives == artifact:
            return job
    raise ValueError(f"artifact: {artifact!r} is unknown; accepted are {', '.join(ARTIFACTS)}")
