"""Makes a local folder of an open_clip model that is named MODEL:PRETRAINED, so that its weights cannot change."""

import json
import shutil
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from curation.errors import ScorerError
from curation.torchvision_ops import declare_missing_ops


def save_named_tower(model_name: str, pretrained: str, folder: Path) -> Path:
    """Build the model, write it as a folder that `ClipScorer` loads, and compare what both give.

    `pretrained` is a tag of open_clip's list or a checkpoint file. A folder that is there is left as it is. ValueError
    where open_clip has no such model or tag; ScorerError where the folder's model would give something else.
    """
    if (folder / "open_clip_config.json").is_file():
        return folder
    declare_missing_ops()
    import open_clip

    _require_known(model_name, pretrained)
    model, preprocess = open_clip.create_model_from_pretrained(model_name, pretrained=pretrained, device="cpu")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, partial / "open_clip_model.safetensors")
    tokenizer: Any = open_clip.get_tokenizer(model_name)
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(partial)
    preprocess_cfg = dict(model.visual.preprocess_cfg)
    config = {"model_cfg": open_clip.get_model_config(model_name), "preprocess_cfg": preprocess_cfg}
    (partial / "open_clip_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    _require_same(model, preprocess, partial)
    partial.rename(folder)
    return folder


def _require_known(model_name: str, pretrained: str) -> None:
    import open_clip

    models = open_clip.list_models()
    if model_name not in models:
        near = ", ".join(get_close_matches(model_name, models, 5, 0.4)) or "see open_clip.list_models()"
        raise ValueError(f"tower: open_clip has no model {model_name!r}; near: {near}")
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    if pretrained not in tags and not Path(pretrained).is_file():
        raise ValueError(
            f"tower: {model_name} has no pretrained weights {pretrained!r}; accepted are a checkpoint file or one of "
            f"{', '.join(tags) or 'no tag'}"
        )


@torch.inference_mode()
def _require_same(model: torch.nn.Module, preprocess: Callable[[Image.Image], torch.Tensor], folder: Path) -> None:
    from curation.clip_scorer import ClipScorer

    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    encode: Any = model.eval().encode_image
    direct = encode(preprocess(picture)[None], normalize=True)[0].float().numpy()
    loaded = ClipScorer(folder, batch_size=1).embed_images([picture])[0]
    difference = float(np.abs(direct - loaded).max())
    if not difference < 1e-4:
        raise ScorerError(f"CLIP {folder}: differs from the model it was written from by {difference:.3g}")
