"""Embeds pictures and texts with one open_clip model, a local folder or a pinned revision on the hub."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import safe_open

from curation.errors import ScorerError
from curation.torchvision_ops import declare_missing_ops

Precision = Literal["fp32", "fp16", "bf16"]
Embeddings = npt.NDArray[np.float32]
Picture = Image.Image | npt.NDArray[np.uint8]
"""A PIL picture, or (H, W, 3) uint8."""

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_PINNED = re.compile(r"hf-hub:(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]


class ClipScorer:
    """One open_clip model on one device.

    Embeddings are (N, `width`) float32, L2-normalised. Every batch has the same padded shape, so on one device a
    row's embedding depends on the picture or text alone and not on what else was asked for.
    """

    def __init__(
        self, source: str | Path, device: str = "cpu", precision: Precision = "fp32", batch_size: int = 32
    ) -> None:
        """`source`: a folder (open_clip_config.json, *.safetensors, tokenizer files) or 'hf-hub:org/name@<commit>'."""
        if precision not in _DTYPES:
            raise ValueError(f"precision must be one of {', '.join(_DTYPES)}; got {precision!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        folder = resolve_clip_folder(source)
        declare_missing_ops()
        import open_clip  # after the declaration, and only where a model is wanted: it takes seconds

        name = f"local-dir:{folder}"
        # open_clip's own half precisions keep some parameters in fp32; one dtype for all is simpler to account for
        model, self._preprocess = open_clip.create_model_from_pretrained(name, device="cpu")
        self._model: Any = model.to(device=device, dtype=_DTYPES[precision]).eval().requires_grad_(False)
        self._tokenizer: Any = open_clip.get_tokenizer(name)
        self._device, self._dtype, self._batch_size = torch.device(device), _DTYPES[precision], batch_size
        self.fingerprint = clip_fingerprint(folder)
        self.width = int(_read_config(folder)["model_cfg"]["embed_dim"])
        self.version = f"{self.fingerprint[:16]}-{precision}"

    def preprocess(self, picture: Picture) -> torch.Tensor:
        """The model's own input of one picture: (3, side, side) float32. Lets a caller drop the pixels early."""
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        return torch.as_tensor(self._preprocess(image))

    def embed_images(self, pictures: Sequence[Picture] | npt.NDArray[np.uint8]) -> Embeddings:
        """(N, width) embeddings of pictures: PIL, or arrays (H, W, 3) or one (N, H, W, 3) of uint8."""
        return self.embed_preprocessed([self.preprocess(picture) for picture in pictures])

    def embed_preprocessed(self, inputs: Sequence[torch.Tensor]) -> Embeddings:
        """(N, width) embeddings of what `preprocess` gave."""
        return self._in_padded_batches(inputs, lambda batch: self._model.encode_image(batch.to(self._dtype)))

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """(N, width) embeddings of texts, cut to the model's context."""
        tokens = list(self._tokenizer(list(texts))) if len(texts) else []
        return self._in_padded_batches(tokens, lambda batch: self._model.encode_text(batch))

    @torch.inference_mode()
    def _in_padded_batches(
        self, rows: Sequence[torch.Tensor], encode: Callable[[torch.Tensor], torch.Tensor]
    ) -> Embeddings:
        embedded = np.zeros((len(rows), self.width), dtype=np.float32)
        for start in range(0, len(rows), self._batch_size):
            taken = list(rows[start : start + self._batch_size])
            padded = taken + [taken[0]] * (self._batch_size - len(taken))
            features = encode(torch.stack(padded).to(self._device)).float()
            unit = torch.nn.functional.normalize(features, dim=-1)
            embedded[start : start + len(taken)] = unit[: len(taken)].cpu().numpy()
        return embedded


def resolve_clip_folder(source: str | Path) -> Path:
    """The local folder of a model; one on the hub is fetched at its pinned revision. ScorerError where unusable."""
    text = str(source)
    if text.startswith("hf-hub:"):
        pinned = _PINNED.fullmatch(text)
        if pinned is None:
            raise ScorerError(
                f"CLIP {text}: name a revision, hf-hub:org/name@<40 hex digits>, so that weights cannot change"
            )
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(pinned["repo"], revision=pinned["revision"], allow_patterns=_HUB_FILES))
    folder = Path(text)
    if not (folder / "open_clip_config.json").is_file():
        raise ScorerError(f"CLIP {folder}: no open_clip_config.json there; expected an open_clip model folder")
    weights_file(folder)
    return folder


def weights_file(folder: Path) -> Path:
    """The model's safetensors file; a pickle is refused with the command that converts it."""
    for name in ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors"):
        if (folder / name).is_file():
            return folder / name
    pickles = sorted(path for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickles:
        raise ScorerError(
            f"CLIP {folder}: only safetensors is loaded, since a pickle can run code; convert it once with "
            f"`python -m curation.convert_weights {pickles[0]} {folder / 'open_clip_model.safetensors'}`"
        )
    raise ScorerError(f"CLIP {folder}: no open_clip_model.safetensors there")


def clip_fingerprint(folder: Path) -> str:
    """SHA-256 over the model's configuration and its tensors by name, as 64 hexadecimal digits.

    Two files of the same tensors have the same fingerprint, whatever their order and metadata.
    """
    config = _read_config(folder)
    digest = hashlib.sha256(
        json.dumps({name: config.get(name) for name in ("model_cfg", "preprocess_cfg")}, sort_keys=True).encode()
    )
    with safe_open(weights_file(folder), framework="pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name).contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_config(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict) or "model_cfg" not in config:
        raise ScorerError(f"CLIP {folder}: open_clip_config.json has no model_cfg")
    return config
