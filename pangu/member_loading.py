"""Reads the weights of one declared fusion member: pipelines, single U-Nets, ControlNets and tiny autoencoders."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pangu.denoiser import PredictionType
from pangu.diffusers_generator import MODEL_INDEX
from pangu.diffusers_model import diffusers_model
from pangu.image_encoder import ClipImageEncoder
from pangu.latent_bridge import AutoencoderSpace, GridSpace, LatentSpace
from pangu.networks import load_unet
from pangu.pipeline import PanGuDrawPipeline, load_experts
from pangu.taef2 import Taef2Space
from pangu.text_encoder import ClipTextEncoder
from pangu.torchvision_ops import declare_missing_ops
from pangu.unet_model import UNetModel, experts_model, single_unet_model
from pangu.vaelight import VaeLightSpace

declare_missing_ops()

from diffusers import AutoencoderKL, AutoencoderTiny, ControlNetModel, DiffusionPipeline  # noqa: E402
from huggingface_hub import snapshot_download  # noqa: E402

WEIGHTS = ("*.json", "*.safetensors", "*.txt", "*.model")


@dataclass(frozen=True)
class MemberParts:
    """What is loaded of one entry; see `pangu.member_file`. folder: that relative ones are taken from."""

    source: str
    revision: str | None
    controlnets: tuple[str, ...]
    controlnet_revisions: tuple[str, ...]
    space: str | None
    told_by: str | None
    encoder: str | None
    prediction_type: PredictionType | None
    size: tuple[int, int] | None
    folder: Path


def find_folder(field: str, source: str, revision: str | None, folder: Path) -> Path:
    """The local folder of a source, fetched from the hub at its commit where there is none.

    Raises:
        ValueError: it is neither a folder nor a hub id with a revision.
    """
    local = folder / source
    if local.is_dir():
        return local
    if revision is None or source.count("/") != 1:
        raise ValueError(
            f"{field}: got {source!r}, expected a folder, or a hub id `owner/name` with its commit as revision"
        )
    return Path(snapshot_download(source, revision=revision, allow_patterns=list(WEIGHTS)))


def load_model(
    parts: MemberParts, spaces: dict[str, LatentSpace], device: str | torch.device, dtype: torch.dtype
) -> UNetModel:
    """The member's model. spaces: those loaded so far by the digest of their weights, shared and added to.

    Raises:
        ValueError: naming the field.
    """
    folder = find_folder("source", parts.source, parts.revision, parts.folder)
    nets = [_load_controlnet(parts, place, device, dtype) for place in range(len(parts.controlnets))]
    if not (folder / MODEL_INDEX).is_file():
        return _load_single(parts, folder, spaces, device)
    for field in ("space", "told_by", "encoder", "prediction_type"):
        if getattr(parts, field) is not None:
            raise ValueError(f"{field}: got {getattr(parts, field)!r}, expected none for a folder with {MODEL_INDEX}")
    kind = json.loads((folder / MODEL_INDEX).read_text(encoding="utf-8")).get("_class_name")
    if kind == PanGuDrawPipeline.__name__:
        model = experts_model(load_experts(folder, device), [net.float() for net in nets])
    else:
        settings: dict[str, Any] = {"safety_checker": None} if "StableDiffusion" in str(kind) else {}
        pipeline = DiffusionPipeline.from_pretrained(str(folder), use_safetensors=True, dtype=dtype, **settings)
        model = diffusers_model(pipeline.to(device), nets)
    model.space = _shared(spaces, _digest(folder / "vae"), model.space)
    return model


def _load_controlnet(parts: MemberParts, place: int, device: str | torch.device, dtype: torch.dtype) -> Any:  # noqa: ANN401
    revision = parts.controlnet_revisions[place] if parts.controlnet_revisions else None
    folder = find_folder(f"controlnets[{place}]", parts.controlnets[place], revision, parts.folder)
    net = ControlNetModel.from_pretrained(str(folder), use_safetensors=True, torch_dtype=dtype)
    return net.requires_grad_(False).eval().to(device)


def _load_single(
    parts: MemberParts, folder: Path, spaces: dict[str, LatentSpace], device: str | torch.device
) -> UNetModel:
    if parts.controlnets:
        raise ValueError(f"controlnets: got {list(parts.controlnets)}, expected none for a U-Net without its pipeline")
    for field in ("space", "told_by", "encoder", "prediction_type", "size"):
        if getattr(parts, field) is None:
            raise ValueError(f"{field}: got none, expected one, for {folder} has no {MODEL_INDEX}")
    encoder_folder = find_folder("encoder", str(parts.encoder), None, parts.folder)
    told_by = ClipTextEncoder.load(encoder_folder) if parts.told_by == "text" else ClipImageEncoder(encoder_folder)
    space, digest = _space(str(parts.space), parts.folder)
    unet = load_unet(folder).float().requires_grad_(False).eval().to(device)
    if unet.config.in_channels != space.channels:
        raise ValueError(
            f"space: got {parts.space!r} of {space.channels} channels, the U-Net takes {unet.config.in_channels}"
        )
    assert parts.prediction_type is not None
    assert parts.size is not None
    shared = _shared(spaces, digest, space)
    return single_unet_model(unet, shared, told_by, parts.size, parts.prediction_type)


def _space(said: str, folder: Path) -> tuple[GridSpace, str]:
    """The space named by `kind=folder` or a folder, and its weights' digest."""
    kind, _, where = said.rpartition("=")
    local = find_folder("space", where, None, folder)
    if kind == "taef2":
        return Taef2Space.load(local), _digest(local)
    if kind == "vaelight":
        return VaeLightSpace(local), _digest(local)
    if kind:
        raise ValueError(f"space: got {said!r}, expected taef2=FOLDER, vaelight=FOLDER or an autoencoder's folder")
    return _load_autoencoder(local, "cpu", torch.float32), _digest(local)


def load_bridge(
    source: str, revision: str | None, folder: Path, device: str | torch.device, dtype: torch.dtype
) -> GridSpace:
    """The space of a tiny autoencoder.

    Raises:
        ValueError: see `find_folder`.
    """
    return _load_autoencoder(find_folder("bridge", source, revision, folder), device, dtype)


def _load_autoencoder(folder: Path, device: str | torch.device, dtype: torch.dtype) -> GridSpace:
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("_class_name")
    loaders = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
    if kind not in loaders:
        raise ValueError(f"autoencoder: got {kind} in {folder}, expected one of {', '.join(loaders)}")
    vae = loaders[kind].from_pretrained(str(folder), use_safetensors=True, torch_dtype=dtype)
    return AutoencoderSpace(vae.requires_grad_(False).eval().to(device))


def _shared(spaces: dict[str, LatentSpace], digest: str, space: GridSpace) -> Any:  # noqa: ANN401
    """The space already loaded from equal weights, else this one, remembered."""
    return spaces.setdefault(digest, space)


def _digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in {".safetensors", ".onnx"} or path.name == "config.json":
            total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
