"""The model card of the sample scorer, written from the figures that were measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HEAD = """# Sample scorer: a small English and Chinese dual encoder

It exists so that the whole platform runs on two CPU cores without a download. Its figures are below, each beside what
guessing would reach. Do not use it to judge models that it conditioned, filtered or rewarded
without saying so.

- **Format**: open_clip `CustomTextCLIP`. `open_clip.create_model_and_transforms("local-dir:<this folder>")` and
  `open_clip.get_tokenizer("local-dir:<this folder>")` load it offline. Embeddings are 256 wide; pictures are squashed
  to 96 x 96 px (ModifiedResNet, width 16); texts have up to 40 byte-level BPE tokens, Chinese characters apart
  (4 layers x 192, causal). Weights are fp16 safetensors.
- **Made by** `curation.dual_encoder_fit.fit_dual_encoder`, both towers from random initialisation; then
  `curation.dual_encoder_heads.fit_heads`. The text tower is fitted first and frozen, so the image tower (and these
  figures) can improve without changing what texts mean.
- **Learned from**: scenes drawn by this repository, two emoji fonts with English and Chinese names (Noto, Apache-2.0;
  Fluent 3D, MIT), clothing photographs (CC0), 82 COCO photographs (CC BY / BY-SA) with their captions, captions and
  prompt lists (COCO, PartiPrompts) for the text tower. Teacher of the text tower: all-MiniLM-L6-v2 (Apache-2.0); its
  outputs were targets, its weights are not in here. Teacher of the image tower, on windows and mixtures of the training
  pictures: the features of MobileNetV2 (ImageNet, Apache-2.0), as they are, as a ridge regression maps them to the training
  captions, and as a logistic regression reads garments' classes from them.
  No picture and no caption is stored in this folder.
- **The last steps** of the image tower (800 by default) see more emoji, by their names in both languages at once, and rank
  every picture's own cosine above every other one, as a threshold over a whole set does. They were designed with figures of
  seed 2 (emoji in an unseen style, COCO) and of seed 1 (drawn shapes) in sight; seed 0 had no part in it.
- **Kept back**: 10 % of the emoji concepts in both art styles, 15 % more in one style, 20 % of the clothing, 29 COCO
  photographs, and one kind-and-colour combination in eight of the drawn scenes. Names of kept-back emoji **were** among
  the texts; their pictures were not.
- `cartoon_head.safetensors`: logistic; value is the logit of "cartoon", abstain between {low} and {high}. Fitted on
  emoji and flat scenes against photographs, filtered photographs, drawn screens and shaded scenes. The figures of the art
  style that is held out come from a head fitted without it, on a tower that was never told it is a cartoon.
- `aesthetic_head.safetensors`: **a proxy for technical quality, not taste.** No human ratings were at hand: it ranks a
  clean picture above its own blurred, noisy, washed-out, over-compressed or badly cropped version, on a scale of about
  1 to 10. Differences between two different pictures mean little.
- **Do not compare** its cosines across sources: no single threshold fits photographs, emoji and drawings.

## Figures on what was kept back

Seeds: {num_seeds}; the worst counts; the weights here are those of seed {first}.

| what | worst | seeds | chance | pictures |
|---|---|---|---|---|
"""


def write_model_card(folder: Path, seeds: Sequence[dict[str, Any]], *, low: float, high: float) -> None:
    """Write README.md from the `figures.json` of every seed, the published one first.

    Where that has a `history`, weights that did not come of one run, the card ends with it.
    """
    rows = []
    for at, each in enumerate(seeds[0]["figures"]):
        values = [seed["figures"][at]["value"] for seed in seeds]
        worst = max(values) if each["lower_is_better"] else min(values)
        told = " ".join(f"{value:.3f}" for value in values)
        limits = f"{each['chance']:.2f} | {each['num_pictures']}"
        rows.append(f"| {each['name']} | {worst:.3f} | {told} | {limits} |")
    effort = ", ".join(f"{seed['image_steps']} steps in {seed['image_core_minutes']} core-minutes" for seed in seeds)
    head = _HEAD.format(low=low, high=high, num_seeds=len(seeds), first=seeds[0]["seed"])
    end = f"\nText tower: {seeds[0]['text_steps']} steps. Image tower, by seed: {effort}.\n"
    if history := seeds[0].get("history"):
        end += f"\n{history}\n"
    (folder / "README.md").write_text(head + "\n".join(rows) + "\n" + end, encoding="utf-8")
