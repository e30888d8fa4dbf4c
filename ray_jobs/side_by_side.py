"""Which pictures stand side by side: those that any model made of the prompts of the newest night."""

from ray_jobs.manifest import Manifest
from ray_jobs.versions import Versions


def site_inputs(versions: Versions, history: Manifest) -> dict[str, Manifest]:
    """``name:artifact`` -> version of everything beside the history that belongs on the site."""
    found = {}
    sweep = versions.latest("style_sweep")
    if sweep is not None:
        found["newest:style_sweep"] = sweep
    nights = history.facts.get("nights", {})
    night = versions.find("nights", nights[max(nights)]) if nights else None
    if night is None:
        return found
    models = night.facts["models"].values()
    made = versions.find("generated_images", next(iter(models))["generated_images"] or "")
    prompts = made.inputs.get("prompts") if made is not None else None
    if prompts is not None:
        for name, version in comparable_pictures(versions, prompts.digest).items():
            found[f"{name}:generated_images"] = version
    return found


def comparable_pictures(versions: Versions, prompts_digest: str) -> dict[str, Manifest]:
    """Model -> its newest version of ``generated_images`` from these prompts, in the order of their names."""
    newest: dict[str, Manifest] = {}
    for key in dict.fromkeys(entry.key for entry in versions.history("generated_images")):
        version = versions.find("generated_images", key)
        given = version.inputs.get("prompts") if version is not None else None
        if version is not None and given is not None and given.digest == prompts_digest:
            newest[_identity(version)] = version
    found: dict[str, Manifest] = {}
    for version in newest.values():
        name = model_name(version).replace("=", "-")
        found[f"{name} {version.key[:6]}" if name in found else name] = version
    return dict(sorted(found.items()))


def _identity(version: Manifest) -> str:
    experts = version.inputs.get("experts")
    return experts.digest if experts is not None else f"{version.job} {version.config.get('model')}"


def model_name(version: Manifest) -> str:
    """What people call the model of some pictures: the pair's key, a folder's own name, a hub name, or what it was given."""
    experts = version.inputs.get("experts")
    if experts is not None:
        return f"experts {experts.key[:8]}"
    name = str(version.facts.get("experts") or version.config.get("model") or version.key[:12])
    return (name.rstrip("/").rsplit("/", 1)[-1] if name.startswith(("/", ".")) else name)[:80]
