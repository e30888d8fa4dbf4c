"""The model card of the sample scorer, written from the figures that were measured."""

from collections.abc import Sequence
from pathlib import Path

from curation.dual_encoder_evaluation import Figure

_HEAD = """# Sample scorer: a small English and Chinese dual encoder (PROVISIONAL)

**Provisional**: it exists so that the whole platform runs on two CPU cores without a download. Its figures are below,
each beside what guessing would reach; several are short of what the sample aims at. Do not use it to judge models that
it conditioned, filtered or rewarded without saying so.

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
  outputs were targets, its weights are not in here. No picture and no caption is stored in this folder.
- **Kept back**: 10 % of the emoji concepts in both art styles, 15 % more in one style, 20 % of the clothing, 29 COCO
  photographs, and one kind-and-colour combination in eight of the drawn scenes. Names of kept-back emoji **were** among
  the texts; their pictures were not.
- `cartoon_head.safetensors`: logistic; value is the logit of "cartoon", abstain between {low} and {high}. Fitted on
  emoji and flat scenes against photographs and shaded scenes. Both art styles of emoji were seen, in other concepts.
  Stylised photographs and screenshots are not covered.
- `aesthetic_head.safetensors`: **a proxy for technical quality, not taste.** No human ratings were at hand: it ranks a
  clean picture above its own blurred, noisy, washed-out, over-compressed or badly cropped version, on a scale of about
  1 to 10. Differences between two different pictures mean little.
- **Do not compare** its cosines across sources: no single threshold fits photographs, emoji and drawings.

## Figures on what was kept back

| what | value | chance | pictures |
|---|---|---|---|
"""


def write_model_card(folder: Path, figures: Sequence[Figure], *, low: float, high: float, effort: str) -> None:
    """Write README.md; `effort` says how long the towers were fitted."""
    rows = [f"| {each.name} | {each.value:.3f} | {each.chance:.2f} | {each.num_pictures} |" for each in figures]
    end = f"\nMeasured {effort}; one seed.\n"
    text = _HEAD.format(low=low, high=high) + "\n".join(rows) + "\n" + end
    (folder / "README.md").write_text(text, encoding="utf-8")
