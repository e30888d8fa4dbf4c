"""The body of POST /v1/images/generations, checked: OpenAI's fields, and ours beside them."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ray_jobs.service.refusal import refuse

MAX_PICTURES = 4
MAX_STEPS = 100
MAX_TIMEOUT_S = 3600.0


class Order(BaseModel):
    """What orders of every kind have. As OpenAI's, a null counts as not given and an unknown field is refused.

    size: "WIDTHxHEIGHT", one of the model's, or "auto". seed: of the first picture; the others count on from it.
    timeout_s: waiting included, after which nobody wants the pictures any more. partial_images: pictures on the way.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int = Field(1, ge=1, le=MAX_PICTURES)
    size: str = Field("auto", max_length=20)
    seed: int | None = Field(None, ge=0, lt=2**62)
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: int = Field(95, ge=1, le=100, description="quality of jpeg and webp; webp is lossless at 100")
    stream: bool = Field(False, description="answer with server-sent events in OpenAI's words")
    partial_images: int = Field(0, ge=0, le=10, description="previews on the way, for streams and asynchronous orders")
    asynchronous: bool = Field(False, alias="async", description="answer at once with a job to ask after")
    timeout_s: float | None = Field(None, gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False)
    user: str | None = Field(None, max_length=512, description="taken and not used, as are the fields after it")
    quality: Literal["auto", "standard"] = "auto"
    background: Literal["auto", "opaque"] = "auto"
    moderation: Literal["auto"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, fields: object) -> object:
        if not isinstance(fields, Mapping):
            return fields
        return {name: value for name, value in fields.items() if value is not None}

    @model_validator(mode="after")
    def _check_answer(self) -> "Order":
        if self.stream and (self.asynchronous or self.response_format == "url"):
            raise ValueError("stream: accepted neither with async nor with response_format url")
        return self


class ImageOrder(Order):
    """Pictures of one prompt by the served pair of experts. styles: style name to how strongly it counts."""

    prompt: str = Field(min_length=1, max_length=4000, examples=["一只红色的小狗", "a red dog in the snow"])
    model: str | None = Field(None, max_length=200)
    negative_prompt: str = Field("", max_length=4000)
    steps: int = Field(40, ge=1, le=MAX_STEPS)
    guidance: float = Field(6.0, ge=0, le=30, allow_inf_nan=False)
    styles: dict[str, float] = Field(default_factory=dict, max_length=8)

    @model_validator(mode="after")
    def _check_styles(self) -> "ImageOrder":
        for name, scale in self.styles.items():
            if not 0 <= scale <= 30:
                raise ValueError(f"styles.{name[:40]}: {scale}; accepted is 0 to 30")
        return self


AnyOrder = TypeVar("AnyOrder", bound=Order)


def read_order(kind: type[AnyOrder], body: bytes) -> AnyOrder:
    """The order of a request body.

    Raises:
        Refused: 400 with the first thing that is wrong, naming field, value and what is accepted.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    field = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "value_error":
        sentence = str(problem["ctx"]["error"])
        raise refuse(400, sentence, sentence.partition(":")[0], "invalid_value")
    if not field:
        raise refuse(400, "body: it is not a JSON object with the fields of the request")
    if problem["type"] == "missing":
        raise refuse(400, f"{field}: not given, and there is no default", field, "missing_required_parameter")
    if problem["type"] == "extra_forbidden":
        accepted = ", ".join(field.alias or name for name, field in kind.model_fields.items())
        raise refuse(400, f"{field[:80]}: unknown field; accepted are {accepted}", field, "unknown_parameter")
    message = f"{field[:80]} = {_shown(problem['input'])}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
    raise refuse(400, message, field, "invalid_value")


def _shown(value: Any) -> str:  # noqa: ANN401 whatever a stranger sent
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
