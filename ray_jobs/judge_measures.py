"""How an expert pair is measured on drawn scenes: pictures by one generator, read by the judge and the rules.

`judge_experts` runs these in order; `judge_figures` is what they give.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curation.buckets import SAMPLE_BUCKETS
from curation.sample.scene_captions import Prompt, is_held_out, sample_prompts
from curation.sample.scene_judge import ATTRIBUTES, SceneJudge
from curation.sample.scene_judge_fit import draw_at
from curation.sample.scene_scores import log_likelihood, rule_matrix, score_matrix
from curation.sample.scenes import Scene, random_scene
from pangu.autoencoder import decode_latents, encode_pixels, to_pixels, to_uint8
from pangu.evaluation.features import FeatureExtractor
from pangu.evaluation.kernel import squared_mmd
from pangu.generate import GenerationRequest, Generator
from pangu.pipeline import PanGuDrawPipeline
from ray_jobs.judge_figures import (
    Comparison,
    JudgeReport,
    JudgeSettings,
    TrendFigure,
    aspect_figures,
    kernel_difference,
    own_scores,
    paired_difference,
    trend_figure,
)

UInt8Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
SQUARE = 5
STYLE_CLASS = {"cartoon": "flat", "aesthetic": "shaded"}
"""Style name -> what the judge reads in a picture of that style."""
KEPT = ("background", "colour", "shape")


@dataclass
class Judging:
    """What every measurement needs, and the pictures it leaves for the grids."""

    pipeline: PanGuDrawPipeline
    judge: SceneJudge
    settings: JudgeSettings
    prompts: list[Prompt]
    scenes: list[Scene]
    say: Callable[[str], None]
    pictures: dict[str, list[UInt8Image]]

    def generate(self, requests: Sequence[GenerationRequest], name: str, *, alone: bool = False) -> list[UInt8Image]:
        """Pictures of the requests; `alone`: the structure expert at every timestep."""
        pipeline = structure_alone(self.pipeline) if alone else self.pipeline
        started = time.monotonic()
        generator = Generator(pipeline, rows_per_batch=self.settings.rows_per_batch)
        images = [found.image for found in generator.generate(requests)]
        self.say(f"{name}: {len(images)} pictures in {time.monotonic() - started:.0f} s")
        return images

    def matrices(self, images: Sequence[UInt8Image], *, ruled: bool = True) -> dict[str, Floats]:
        """Scores of pictures against every prompt, by the judge and by the rules."""
        found = score_matrix(self.judge.read(images), self.scenes[: len(images)])
        return found | (rule_matrix(images, self.scenes[: len(images)]) if ruled else {})


def judged_prompts(num_prompts: int, seed: int) -> list[Prompt]:
    """Held-out prompts, English and Chinese in turn; three in four square, the others over all buckets."""
    aspects = tuple(row.structure[1] / row.structure[0] for row in SAMPLE_BUCKETS.rows)
    square = num_prompts - num_prompts // 4
    return sample_prompts(square, seed=seed) + sample_prompts(num_prompts - square, seed=seed + 1, aspects=aspects)


def bucket_of(prompt: Prompt) -> int:
    """The prompt's bucket, the square one where it names none."""
    return SQUARE if prompt.bucket is None else prompt.bucket


def size_of(prompt: Prompt) -> tuple[int, int]:
    """(height, width) of the prompt's picture."""
    return SAMPLE_BUCKETS.rows[bucket_of(prompt)].structure


def request_of(
    prompt: Prompt, number: int, given: JudgeSettings, text: str, styles: dict[str, float]
) -> GenerationRequest:
    """One picture of a prompt; its seed depends on its number alone, so that all variants share their noise."""
    return GenerationRequest(
        key=prompt.prompt_id,
        prompt=text,
        seed=given.seed * 1_000_003 + number,
        bucket=bucket_of(prompt),
        steps=given.steps,
        guidance=given.guidance,
        styles=styles,
    )


def styled_requests(judging: Judging, given: JudgeSettings) -> list[GenerationRequest]:
    """Every prompt in the style that its row asks for."""
    prefixes = judging.pipeline.card.prefixes
    found = []
    for number, prompt in enumerate(judging.prompts):
        style = prompt.style or ""
        text = prompt.prompt if given.style_scale else prefixes[style] + prompt.prompt
        found.append(request_of(prompt, number, given, text, {style: given.style_scale} if given.style_scale else {}))
    return found


def structure_alone(pipeline: PanGuDrawPipeline) -> PanGuDrawPipeline:
    """The same pipeline with the structure expert at every timestep."""
    modules = {"structure": pipeline.structure, "texture": pipeline.structure}
    shared = {"vae": pipeline.vae, "text_encoder": pipeline.text_encoder}
    return PanGuDrawPipeline.build(modules | shared, pipeline.card)


@torch.inference_mode()
def through_autoencoder(vae: Any, images: Sequence[UInt8Image]) -> list[UInt8Image]:  # noqa: ANN401
    """Every picture (H, W, 3) encoded and decoded."""
    return [to_uint8(decode_latents(vae, encode_pixels(vae, to_pixels(image[None]))))[0] for image in images]


def judge_pair(judging: Judging, report: JudgeReport) -> None:
    """The main figures, all and by language, beside their ceilings; leaves the pictures of pair, drawn and decoded."""
    pictures = judging.pictures
    pictures["pair"] = judging.generate(styled_requests(judging, judging.settings), "pair")
    pictures["drawn"] = [
        draw_at(scene, size_of(prompt), seed)
        for seed, (scene, prompt) in enumerate(zip(judging.scenes, judging.prompts, strict=True))
    ]
    pictures["decoded"] = through_autoencoder(judging.pipeline.vae, pictures["drawn"])
    matrices = {name: judging.matrices(pictures[name]) for name in ("pair", "drawn", "decoded")}
    ceilings = {name: matrices[name] for name in ("drawn", "decoded")}
    languages = np.array([prompt.language for prompt in judging.prompts])
    for language in ("all", "en", "zh"):
        chosen = np.ones(len(languages), bool) if language == "all" else languages == language
        report.pair[language] = aspect_figures(matrices["pair"], ceilings, chosen)


def compare_with_structure(judging: Judging, report: JudgeReport, extractor: FeatureExtractor) -> None:
    """The pair against its structure expert alone at equal steps and seeds, on the judge and on KID."""
    pictures = judging.pictures
    pictures["alone"] = judging.generate(styled_requests(judging, judging.settings), "structure alone", alone=True)
    pair, alone = judging.matrices(pictures["pair"]), judging.matrices(pictures["alone"])
    report.structure_alone = aspect_figures(alone, {}, np.ones(len(judging.prompts), bool))
    asked = [row.aspect for row in report.structure_alone]
    sets = ("pair", "alone", "drawn", "decoded")
    likely = {name: log_likelihood(judging.judge.read(pictures[name]), judging.scenes) for name in sets}
    references = drawn_references(judging.prompts, judging.settings)
    features = {name: extractor.extract(pictures[name]).features for name in sets}
    reference = extractor.extract(references).features
    report.comparison = Comparison(
        extractor=extractor.card.label,
        num_references=len(references),
        aspects={name: paired_difference(own_scores(pair[name]), own_scores(alone[name])) for name in asked},
        likelihood={name: float(found.mean()) for name, found in likely.items()},
        likelihood_difference=paired_difference(likely["pair"], likely["alone"]),
        kid={name: squared_mmd(found, reference) for name, found in features.items()},
        kid_difference=kernel_difference(features["pair"], features["alone"], reference),
    )
    judging.say(f"log-likelihood pair less structure alone: {report.comparison.likelihood_difference}")
    judging.say(f"KID pair less structure alone: {report.comparison.kid_difference}")


def drawn_references(prompts: Sequence[Prompt], given: JudgeSettings) -> list[UInt8Image]:
    """Other drawn scenes at the prompts' sizes, in the prompts' styles, of combinations that training may use."""
    rng = np.random.default_rng([given.seed, 77])
    found: list[UInt8Image] = []
    for prompt in prompts:
        height, width = size_of(prompt)
        wanted = len(found) + given.references_per_prompt
        while len(found) < wanted:
            style = Scene.from_json(prompt.attributes).style
            scene = random_scene(rng, aspect=width / height, style=style)
            if not is_held_out(scene):
                found.append(draw_at(scene, (height, width), int(rng.integers(2**32))))
    return found


def sweep_style(judging: Judging, style: str) -> TrendFigure:
    """Neutral prompts at every scale of one style, with equal seeds; the judge's rate of that style."""
    given, scales = judging.settings, judging.settings.sweep_scales
    numbered = list(enumerate(judging.prompts[: given.sweep_prompts]))
    at_style = ATTRIBUTES["style"].index(STYLE_CLASS[style])
    probability, kept = [], {name: list[float]() for name in KEPT}
    for scale in scales:
        styles = {style: scale} if scale else {}
        requests = [request_of(prompt, number, given, prompt.prompt, styles) for number, prompt in numbered]
        name = f"{style} {scale:g}"
        judging.pictures[name] = judging.generate(requests, name)
        probability.append(np.exp(judging.judge.read(judging.pictures[name])["style"][:, at_style].astype(np.float64)))
        scores = judging.matrices(judging.pictures[name], ruled=False)
        for aspect in KEPT:
            kept[aspect].append(float(np.nanmean(own_scores(scores[aspect]))))
    sure = np.stack(probability)
    trend = trend_figure(style, scales, np.asarray(sure > 0.5, np.float64), sure, kept)
    judging.say(trend.statement)
    return trend


def judge_guidance(judging: Judging, report: JudgeReport) -> None:
    """The main figures at every guidance asked for."""
    for guidance in judging.settings.guidances:
        given = judging.settings.model_copy(update={"guidance": guidance})
        images = judging.generate(styled_requests(judging, given), f"guidance {guidance:g}")
        every = np.ones(len(judging.prompts), bool)
        report.by_guidance[f"{guidance:g}"] = aspect_figures(judging.matrices(images), {}, every)
        judging.say(", ".join(f"{row.aspect} {row.score.value:.2f}" for row in report.by_guidance[f"{guidance:g}"]))
