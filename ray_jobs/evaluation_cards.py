"""How both sets of an evaluation were made and read: what must be equal before two nights may be compared."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pangu.evaluation.set_card import SetCard, content_hash, set_card
from ray_jobs.evaluation_sides import GENERATED
from ray_jobs.job import JobContext
from ray_jobs.job_configs import EvaluateImages
from ray_jobs.manifest import Manifest
from ray_jobs.store import Store
from ray_jobs.versions import Versions

if TYPE_CHECKING:  # comparing nights needs no networks
    from ray_jobs.evaluation_networks import Networks
    from ray_jobs.evaluation_parts import Side

_MARKS = ("metadata", "watermark", "content_credentials")
NOT_RECORDED = "not recorded"


def describe_sets(
    context: JobContext[EvaluateImages], networks: "Networks", generated: "Side", reference: "Side"
) -> dict[str, Any]:
    """``cards``: network -> its label, the cards of both sets; ``pictures``: the hash of the generated pictures."""
    made, images = context.input(GENERATED), context.plan.inputs.get("images")
    prompts = made.inputs.get("prompts")
    cards = {}
    for name, card in networks.cards.items():
        own = set_card(
            card,
            image_format=image_format(made),
            num_images=made.counts.get("in", generated.rows.num_rows),
            seed=int(made.config.get("run_seed", 0)),
            marks=describe_marks(made),
            content=prompts.digest if prompts else NOT_RECORDED,
        )
        other = set_card(
            card,
            image_format=NOT_RECORDED if images is None else image_format(images),
            num_images=context.config.num_reference,
            seed=0,
            content=reference.content,
        )
        cards[name] = {"label": card.label, "generated": asdict(own), "reference": asdict(other)}
    rows = generated.rows.select(["key", "image_sha256"]).to_pylist()
    pictures = content_hash((row["key"], row["image_sha256"]) for row in rows if row["image_sha256"])
    return {"cards": cards, "pictures": pictures}


def describe_model(store: Store, generated: Manifest) -> dict[str, Any]:
    """``model``: which one made the pictures; ``prompts``: which ones it was given; ``generation``: the settings.

    A model's version is the key of ``experts``, or for another model the content that its config names.
    """
    experts = generated.inputs.get("experts")
    content = str(generated.config.get("model", NOT_RECORDED))
    name = "experts" if experts else str(generated.facts.get("experts", content))
    version_and_digest = (experts.key, experts.digest) if experts else (content, content)
    model = {"name": name} | dict(zip(("version", "digest"), version_and_digest, strict=True))
    given = generated.inputs.get("prompts")
    found = Versions(store).find("prompts", given.key) if given else None
    prompts = {"version": given.key, "digest": given.digest} if given else {}
    if found is not None:
        named = ("source", "prompt_set", "prompt_set_version")
        prompts |= {each: found.facts[each] for each in named if found.facts.get(each)}
    return {"model": model, "prompts": prompts, "generation": generated.config}


def image_format(version: Manifest) -> str:
    """The format in which a version's pictures were stored, with its quality: "png", "webp-95"."""
    name = version.config.get("encode_format")
    if name is None:
        return NOT_RECORDED
    return str(name) if name == "png" else f"{name}-{version.config.get('encode_quality')}"


def describe_marks(generated: Manifest) -> str:
    """What was written into the pictures, as generation recorded it; without what changes with every model."""
    mark = generated.facts.get("mark")
    return "; ".join(f"{name}: {mark[name]}" for name in _MARKS if name in mark) if mark else NOT_RECORDED


def night_card(facts: dict[str, Any], label: str) -> SetCard | None:
    """The card under which a number of this network stands beside other nights: the set's, and what it was held against."""
    for found in facts.get("cards", {}).values():
        if found["label"] == label:
            against = found["reference"]["content"]
            return SetCard(**found["generated"] | {"content": f"{found['generated']['content']} against {against}"})
    return None
