"""What a generation run will take, before it starts: pictures, hours, bytes and cost, and whether the budget allows it.

Speed comes from the newest earlier version of the same settings on the same kind of device; without one, from a short
timed probe where one is asked for; else it is left open and said so.
"""

import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from ray_jobs.generation_configs import Budget
from ray_jobs.generation_plan import PlannedPart, plan_parts, rows_of_part
from ray_jobs.job import JobContext, JobPlan
from ray_jobs.job_configs import GenerateImages, Runtime
from ray_jobs.manifest import Manifest
from ray_jobs.parts import PartSummary
from ray_jobs.store import Store
from ray_jobs.versions import Versions

MOST_HISTORY = 200
PROBE_STEPS = (1, 3)
"""The two lengths that are timed: their difference is the time of steps, the rest is text, decoding and encoding."""

_SPEED_FIELDS = (
    "model",
    "dtype",
    "size",
    "steps",
    "sampler",
    "guidance",
    "texture_guidance",
    "guidance_interval",
    "style_scales",
    "prompt_style_scale",
    "batch_size",
    "encode_format",
    "encode_quality",
    "container",
    "mark",
    "output_filter",
)


class Estimate(BaseModel):
    """A prediction. device_seconds: of all workers together; seconds: on the clock; both None where nothing is known.

    basis: what the speed comes from.
    """

    model_config = ConfigDict(frozen=True)

    images: int
    basis: str
    device_seconds: float | None = None
    seconds: float | None = None
    num_bytes: int | None = None
    cost: float | None = None
    currency: str = "USD"

    def to_text(self) -> str:
        """Some lines for a person."""
        if self.device_seconds is None or self.seconds is None or self.num_bytes is None or self.cost is None:
            return f"{self.images:,} images; time, bytes and cost are not known: {self.basis}\n"
        lines = [
            f"{self.images:,} images",
            f"{_duration(self.seconds)} on the clock, {_duration(self.device_seconds)} of device time",
            f"{self.num_bytes / 2**20:,.1f} MiB",
            f"{self.cost:,.2f} {self.currency}",
            f"speed: {self.basis}",
        ]
        return "\n".join(lines) + "\n"


class Speed(BaseModel):
    """What an earlier run or a probe took. overhead_s: start-up, by the clock."""

    model_config = ConfigDict(frozen=True)

    device_seconds_per_image: float
    bytes_per_image: float
    overhead_s: float
    basis: str


def predict_plan(plan: JobPlan, store: Store) -> Estimate:
    """The prediction of a dry run: nothing is written, and a probe is run where there is no earlier version to go by."""
    config = plan.config
    assert isinstance(config, GenerateImages)
    return predict(plan, store, plan_parts(store, plan.inputs["prompts"], config), may_probe=True)


def predict(plan: JobPlan, store: Store, parts: Sequence[PlannedPart], *, may_probe: bool) -> Estimate:
    """What the planned parts will take."""
    config = plan.config
    assert isinstance(config, GenerateImages)
    drawn = [part for part in parts if not part.group.refused]
    images = sum(part.count for part in drawn)
    budget = config.budget
    speed = find_speed(plan, store)
    if speed is None and may_probe and drawn:
        speed = probe_speed(plan, store, max(drawn, key=lambda part: part.count))
    if speed is None:
        basis = "there is no earlier run of these settings; a dry run times a probe"
        return Estimate(images=images, basis=basis, currency=budget.currency)
    device_seconds = images * speed.device_seconds_per_image
    workers = min(config.runtime.workers, max(len(parts), 1))
    seconds = speed.overhead_s + device_seconds / workers
    return Estimate(
        images=images,
        basis=speed.basis,
        device_seconds=round(device_seconds, 3),
        seconds=round(seconds, 3),
        num_bytes=round(images * speed.bytes_per_image),
        cost=round(seconds * workers / 3600 * budget.cost_per_device_hour, 4),
        currency=budget.currency,
    )


def check_budget(estimate: Estimate, budget: Budget) -> None:
    """Refuse a run whose prediction is above the budget. ValueError names every limit that it breaks."""
    hours = None if estimate.seconds is None else estimate.seconds / 3600
    predicted = {"max_images": estimate.images, "max_hours": hours, "max_cost": estimate.cost}
    broken = [
        f"generate_images.budget.{name} = {most:g}, but {value:,.6g} are predicted"
        for name, value in predicted.items()
        if (most := getattr(budget, name)) is not None and value is not None and value > most
    ]
    if broken:
        raise ValueError(f"{'; '.join(broken)} (speed: {estimate.basis})")


def speed_settings(config: GenerateImages, experts: Manifest | None) -> dict[str, Any]:
    """All that decides how long a picture takes, of which equal values may be compared between runs."""
    fields = config.decisive()
    weights = [part.bytes for part in experts.parts if part.name.endswith(".safetensors")] if experts else []
    runtime: Runtime = config.runtime
    where = {"device": runtime.device, "threads": runtime.threads, "workers": runtime.workers}
    return {name: fields[name] for name in _SPEED_FIELDS} | where | {"weights_bytes": sum(weights)}


def took(context: JobContext[GenerateImages], summaries: Sequence[PartSummary]) -> dict[str, Any]:
    """What the parts made in this run took; a resumed run speaks of its own parts alone."""
    config = context.config
    drawn = sum(summary.counts.get("kept", 0) for summary in summaries)
    seconds = time.monotonic() - context.started
    return {
        "images": drawn,
        "seconds": round(seconds, 3),
        "device_seconds": round(context.device_seconds, 3),
        "num_bytes": sum(summary.part.bytes for summary in summaries),
        "images_per_s": round(drawn / seconds, 4),
        "cost": round(seconds * config.runtime.workers / 3600 * config.budget.cost_per_device_hour, 4),
        "settings": speed_settings(config, context.plan.inputs.get("experts")),
    }


def find_speed(plan: JobPlan, store: Store) -> Speed | None:
    """From the newest committed version of equal settings that made any picture."""
    config = plan.config
    assert isinstance(config, GenerateImages)
    wanted = speed_settings(config, plan.inputs.get("experts"))
    versions = Versions(store)
    for entry in reversed(versions.history("generated_images")[-MOST_HISTORY:]):
        found = versions.find("generated_images", entry.key)
        measured = found.facts.get("took", {}) if found is not None else {}
        if measured.get("settings") != wanted or not measured.get("images"):
            continue
        images = measured["images"]
        waited = measured["device_seconds"] / config.runtime.workers
        return Speed(
            device_seconds_per_image=measured["device_seconds"] / images,
            bytes_per_image=measured["num_bytes"] / images,
            overhead_s=max(0.0, measured["seconds"] - waited),
            basis=f"generated_images@{entry.key[:12]}, {images} images",
        )
    return None


def probe_speed(plan: JobPlan, store: Store, part: PlannedPart) -> Speed:
    """From a few steps of one batch of a part's rows, in a Ray worker with the resources of the job's."""
    import ray

    from ray_jobs.part_runner import ensure_ray, ray_resources

    config = plan.config
    assert isinstance(config, GenerateImages)
    ensure_ray(config.runtime)
    timed = ray.remote(**ray_resources(config.runtime))(time_probe)
    started = time.monotonic()
    line = ray.get(timed.remote(store, config, dict(plan.inputs), part))
    overhead_s = max(0.0, time.monotonic() - started - line["sampling_s"])
    rows, (few, more) = line["rows"], PROBE_STEPS
    step_s = max(0.0, line["more_s"] - line["few_s"]) / (more - few)
    batch_s = max(line["few_s"] - few * step_s, 0.0) + config.steps * step_s
    return Speed(
        device_seconds_per_image=batch_s / rows,
        bytes_per_image=line["num_bytes"] / rows,
        overhead_s=overhead_s,
        basis=f"a probe: {rows} images of {few} and of {more} steps",
    )


def time_probe(
    store: Store, config: GenerateImages, inputs: dict[str, Manifest], part: PlannedPart
) -> dict[str, float]:
    """Seconds for one batch at each of `PROBE_STEPS`, filtered, marked and encoded as in the job."""
    from ray_jobs.generation_worker import ImageMaker
    from ray_jobs.part_runner import limit_threads

    started = time.monotonic()
    maker = ImageMaker(store, config, inputs.get("experts"), inputs.get("enhancer"))
    limit_threads(config.runtime)
    few = part.model_copy(update={"count": min(part.count, config.batch_size)})
    chosen = list(rows_of_part(store, inputs["prompts"], config, few))
    rows: list[dict[str, Any]] = []
    seconds: dict[int, float] = {}
    for steps in (PROBE_STEPS[0], *PROBE_STEPS):  # the first is to warm up
        rows = [maker.begin_row(prompt, index) for prompt, index in chosen]
        began = time.monotonic()
        maker.enhance(rows)
        maker.fill(rows, steps=steps)
        seconds[steps] = time.monotonic() - began
    made = [row for row in rows if row["image"] is not None]
    if not made:
        raise ValueError(f"generate_images: the probe made no picture: {rows[0]['reason']}")
    return {
        "rows": config.batch_size if len(made) == config.batch_size else len(made),
        "few_s": seconds[PROBE_STEPS[0]],
        "more_s": seconds[PROBE_STEPS[1]],
        "num_bytes": sum(len(row["image"]["bytes"]) for row in made),
        "sampling_s": time.monotonic() - started,
    }


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"
