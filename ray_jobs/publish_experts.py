"""publish_experts: both experts, autoencoder and text encoder as one diffusers pipeline folder with a card."""

import tempfile
from pathlib import Path
from typing import Any

from ray_jobs.folder_versions import fetch_version
from ray_jobs.job import JobContext
from ray_jobs.job_configs import PublishExperts, model_folder
from ray_jobs.manifest import Manifest


def run(context: JobContext[PublishExperts]) -> Manifest:
    """Refuse experts that do not form a pair, or that were trained on another base; then write the folder."""
    from pangu.checkpoint import ExpertIdentity
    from pangu.networks import load_unet
    from pangu.pipeline import ExpertsCard, PanGuDrawPipeline, load_experts

    versions = {role: context.input(f"expert_{role}") for role in ("structure", "texture")}
    require_same_base(context, versions)
    base = load_experts(Path(model_folder("base", context.config.base)))
    modules: dict[str, Any] = {"vae": base.vae, "text_encoder": base.text_encoder}
    identities: dict[str, ExpertIdentity] = {}
    with tempfile.TemporaryDirectory(prefix="pangu-publish-") as name:
        for step, (role, version) in enumerate(versions.items(), 1):
            folder = fetch_version(context.store, version, Path(name) / role)
            identities[role] = ExpertIdentity.model_validate_json((folder / "identity.json").read_text())
            modules[role] = load_unet(folder / "unet").eval()
            context.progress.report(step, 3, "files")
        card = ExpertsCard(
            structure=identities["structure"],
            texture=identities["texture"],
            prefixes=context.config.prefixes,
            training=training_facts(context, versions),
        )
        target = Path(name) / "pipeline"
        PanGuDrawPipeline.build(modules, card).save_pretrained(target)
        context.progress.report(3, 3, "files")
        return context.commit_folder(target, facts={role: version.facts for role, version in versions.items()})


def require_same_base(context: JobContext[PublishExperts], versions: dict[str, Manifest]) -> None:
    """ValueError where an expert learned in another latent space than the one it would be published with."""
    ours = context.plan.decided_by()["base"]
    for role, version in versions.items():
        if version.config["base"] != ours:
            raise ValueError(f"base: {role} was trained with {version.config['base']}, publish_experts.base is {ours}")


def training_facts(
    context: JobContext[PublishExperts], versions: dict[str, Manifest]
) -> dict[str, str | int | float | list[float]]:
    """What the model card says about how the pair came to be."""
    facts: dict[str, str | int | float | list[float]] = {"title": context.config.title}
    if context.config.provisional:
        facts["status"] = "provisional: good enough to run the whole chain on, not a measure of the method"
    for role, version in versions.items():
        losses = version.facts["losses"]
        facts[f"{role}_version"] = version.key
        facts[f"{role}_training_set"] = version.inputs["training_set"].digest
        facts[f"{role}_steps"] = version.facts["steps"]
        facts[f"{role}_pictures"] = version.facts["pictures"]
        tail = losses[-50:]
        if tail:
            facts[f"{role}_final_loss"] = round(sum(tail) / len(tail), 5)
    return facts
