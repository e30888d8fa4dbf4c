"""The small file that declares fusion members, read, checked against what is found, and loaded.

TOML (or the same as JSON), beside which relative folders stand:

    [[member]]
    name = "painter"
    source = "org/sdxl-finetune"          # a folder, or a hub id with its commit
    revision = "0123456789abcdef0123456789abcdef01234567"
    role = "colours and texture"
    guidance = 5.0
    weight = 0.4                          # d, fading; or points over timesteps: [[200, 0.0], [500, 0.4]]
    bridge = "taesdxl"                    # a tiny autoencoder's folder or hub id, for the bridge alone
    controlnets = ["edges"]               # ControlNets of the U-Net, folders or hub ids, in the order of their images
    detectors = ["canny"]                 # what makes each of these images of a picture (pangu.condition_detectors)
    [member.expect]                       # refused on load where it is otherwise
    scaling_factor = 0.13025
    prediction_type = "epsilon"

A `source` with `model_index.json` is a pipeline: our expert pair, or one of `pangu.diffusers_model.KINDS`. A folder with a
U-Net alone says what goes with it: `space` (`taef2=FOLDER`, `vaelight=FOLDER`, or an autoencoder's folder), `told_by`
(`text` or `image`) with `encoder` (a CLIP folder; for words also a pair's `text_encoder`), `prediction_type` and `size`.
"""

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pangu.condition_detectors import make_detector
from pangu.denoiser import PredictionType
from pangu.fusion_request import DEFAULT_WEIGHT, Member
from pangu.latent_bridge import LatentSpace
from pangu.member_loading import MemberParts, load_bridge, load_model
from pangu.unet_model import UNetModel
from pangu.weight_schedule import WeightSchedule


class Expectation(BaseModel):
    """What a loaded member must be; None for whatever it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scaling_factor: float | None = None
    latent_channels: int | None = None
    prediction_type: PredictionType | None = None
    beta_schedule: str | None = None
    beta_start: float | None = None
    beta_end: float | None = None
    num_timesteps: int | None = None


class MemberEntry(BaseModel):
    """One `[[member]]`; see the module for the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    source: str
    revision: str | None = None
    role: str = ""
    guidance: float = Field(default=3.0, ge=0, allow_inf_nan=False)
    negative: str = ""
    weight: float | tuple[tuple[float, float], ...] | None = None
    size: tuple[int, int] | None = None
    controlnets: tuple[str, ...] = ()
    controlnet_revisions: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    bridge: str | None = None
    bridge_revision: str | None = None
    space: str | None = None
    told_by: Literal["text", "image"] | None = None
    encoder: str | None = None
    prediction_type: PredictionType | None = None
    expect: Expectation = Expectation()

    @model_validator(mode="after")
    def _check(self) -> "MemberEntry":
        self.weight_schedule()
        if self.controlnet_revisions and len(self.controlnet_revisions) != len(self.controlnets):
            raise ValueError(
                f"controlnet_revisions: got {len(self.controlnet_revisions)}, expected one for each of "
                f"{len(self.controlnets)} controlnets"
            )
        return self

    def weight_schedule(self) -> WeightSchedule:
        """d(t) where a request names none."""
        if self.weight is None:
            return DEFAULT_WEIGHT
        if isinstance(self.weight, tuple):
            return WeightSchedule(self.weight)
        return WeightSchedule.fading(self.weight)

    def parts(self, folder: Path) -> MemberParts:
        """What is to be loaded, relative folders taken from `folder`."""
        found = self.model_dump(include=set(MemberParts.__dataclass_fields__) - {"folder"})
        return MemberParts(**{**found, "prediction_type": self.prediction_type, "folder": folder})


class MemberFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: tuple[MemberEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "MemberFile":
        names = [entry.name for entry in self.member]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"name: got {twice[0]!r} twice, expected every member's own")
        return self


def read_members(path: Path) -> MemberFile:
    """The checked declarations of a TOML or JSON file; nothing is loaded.

    Raises:
        ValueError: naming the member, the field, its value and what is accepted.
    """
    text = path.read_text(encoding="utf-8")
    try:
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return MemberFile.model_validate(found)
    except ValidationError as error:
        raise ValueError(f"{path.name}: {_first(error, found)}") from error
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path.name}: {error}") from error


def load_members(
    path: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    only: str | None = None,
    spaces: dict[str, LatentSpace] | None = None,
) -> dict[str, Member]:
    """Every member that a file declares, by name, on a device. Members of one autoencoder's weights share its space.

    dtype: of plain pipelines' weights. only: load that one alone. spaces: those loaded, by the digest of their weights,
    shared and added to.

    Raises:
        ValueError: naming the member, the field, its value and what is accepted.
    """
    members: dict[str, Member] = {}
    spaces = {} if spaces is None else spaces
    for entry in read_members(path).member:
        if only not in (None, entry.name):
            continue
        try:
            members[entry.name] = _load(entry, path.parent, spaces, device, dtype)
        except (ValueError, OSError) as error:
            raise ValueError(f"{path.name}: member {entry.name!r}: {error}") from error
    return members


def _load(
    entry: MemberEntry, folder: Path, spaces: dict[str, LatentSpace], device: str | torch.device, dtype: torch.dtype
) -> Member:
    model = load_model(entry.parts(folder), spaces, device, dtype)
    check_expectation(entry.expect, model)
    if entry.size is not None:
        model.default_size = entry.size
    model.check_size(model.default_size)
    bridge = None
    if entry.bridge is not None:
        bridge = load_bridge(entry.bridge, entry.bridge_revision, folder, device, dtype)
        if (bridge.channels, bridge.factor) != (model.space.channels, model.space.factor):
            raise ValueError(
                f"bridge: got {bridge.channels} channels at 1/{bridge.factor}, expected {model.space.channels} at "
                f"1/{model.space.factor} as the model has"
            )
    if len(entry.detectors) not in (0, model.num_conditions):
        raise ValueError(
            f"detectors: got {len(entry.detectors)}, expected none, or one for each of {model.num_conditions} images"
        )
    return Member(
        name=entry.name,
        model=model,
        role=entry.role,
        guidance=entry.guidance,
        negative=entry.negative,
        weight=entry.weight_schedule(),
        bridge=bridge,
        detectors=tuple(make_detector(said, folder, str(device)) for said in entry.detectors),
    )


def check_expectation(expected: Expectation, model: UNetModel) -> None:
    """Refuse a model that is not what its entry says.

    Raises:
        ValueError: naming the field, what was found and what was expected.
    """
    schedule = model.schedule
    vae = getattr(model.space, "vae", None)
    found = {
        "scaling_factor": None if vae is None else vae.config.scaling_factor,
        "latent_channels": model.space.channels,
        "prediction_type": model.prediction_type,
        "beta_schedule": schedule.kind,
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "num_timesteps": schedule.num_timesteps,
    }
    for name, wanted in expected.model_dump(exclude_none=True).items():
        have = found[name]
        near = isinstance(have, float) and isinstance(wanted, float) and abs(have - wanted) < 1e-6
        if have != wanted and not near:
            raise ValueError(f"expect.{name}: the model has {have}, expected {wanted}")


def _first(error: ValidationError, found: Any) -> str:  # noqa: ANN401
    """The first complaint with the member's name in front."""
    problem = error.errors()[0]
    where = list(problem["loc"])
    said = problem["msg"].removeprefix("Value error, ")
    if len(where) > 1 and where[0] == "member" and isinstance(where[1], int):
        entry = found["member"][where[1]]
        name = entry.get("name", where[1]) if isinstance(entry, dict) else where[1]
        field = ".".join(str(part) for part in where[2:])
        given = f" got {problem['input']!r}," if field and not isinstance(problem["input"], dict) else ""
        return f"member {name!r}: {field + ':' if field else ''}{given} {said}".replace("  ", " ")
    return f"{'.'.join(map(str, where))}: {said}"
