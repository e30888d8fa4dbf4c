"""The body of POST /v1/fusions: which members draw together, what each is told, and how its weight runs over time."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curation.language import caption_language
from ray_jobs.service.orders import MAX_STEPS, Order

MAX_MEMBERS = 6
MAX_CONDITIONS = 4
MAX_IMAGE_CHARS = 12 * 2**20
"""Of one condition image as text."""

Weight = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Timestep = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]


class MemberOrder(BaseModel):
    """One member's part. The first of an order leads: its size is the picture's, and its weight is what the others leave.

    language: refused where the prompt is in the other one; for callers that must be sure. weight: a number holds down to
    timestep 500 and fades to 0 at 200; points (timestep, weight) are joined by straight lines; the member's own without.
    condition_images: a data: URL, bare base64, an http(s) URL that is fetched, or upload:NAME of a multipart file. detect:
    they are ordinary pictures, of which the member's detectors (see /v1/members) make what it follows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    prompt: str = Field("", max_length=4000)
    language: Literal["zh", "en"] | None = None
    negative_prompt: str | None = Field(None, max_length=4000)
    guidance: float | None = Field(None, ge=0, le=30, allow_inf_nan=False)
    weight: Weight | Annotated[tuple[tuple[Timestep, Weight], ...], Field(min_length=1, max_length=64)] | None = None
    condition_images: tuple[Annotated[str, Field(min_length=1, max_length=MAX_IMAGE_CHARS)], ...] = Field(
        (), max_length=MAX_CONDITIONS
    )
    condition_scales: tuple[Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)], ...] = Field(
        (), max_length=MAX_CONDITIONS
    )
    detect: bool = False

    @model_validator(mode="after")
    def _check(self) -> "MemberOrder":
        found = caption_language(self.prompt)
        if self.language is not None and found not in (None, self.language):
            raise ValueError(f"language: {self.language!r} is asked for, the prompt of {self.name!r} is in {found!r}")
        if isinstance(self.weight, tuple) and any(b[0] < a[0] for a, b in zip(self.weight, self.weight[1:])):  # noqa: B905
            raise ValueError(f"weight: the timesteps of {self.name!r} descend; accepted are ascending ones")
        return self


class FusionOrder(Order):
    """One picture, or n of them, drawn by several members together. bridge_every: steps from one bridge to the next."""

    members: tuple[MemberOrder, ...] = Field(min_length=1, max_length=MAX_MEMBERS)
    steps: int = Field(30, ge=1, le=MAX_STEPS)
    bridge_every: int = Field(1, ge=1, le=MAX_STEPS)

    @model_validator(mode="after")
    def _check_members(self) -> "FusionOrder":
        if self.members[0].weight is not None:
            raise ValueError("members.0.weight: accepted is none, for the first member has what the others leave")
        return self


EXAMPLES = {
    "two_prompts": {
        "summary": "two prompts, one picture: the second counts for less and less",
        "value": {
            "members": [
                {"name": "experts", "prompt": "a large red circle"},
                {"name": "experts", "prompt": "沙滩上的蓝色方块", "weight": [[200, 0], [500, 0.5], [1000, 0.5]]},
            ],
            "steps": 20,
            "seed": 7,
        },
    }
}
