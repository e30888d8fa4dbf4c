"""What may be asked of the generation service, who may ask, and what a refusal looks like: OpenAI's shapes."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_BODY_BYTES = 64 * 1024
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Refused(Exception):
    """A request that gets an answer other than pictures: HTTP status, one clear sentence, the field it is about."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        """Hold what `body` says."""
        super().__init__(message)
        self.status, self.message, self.field = status, message, field

    def body(self) -> dict[str, object]:
        """The answer's JSON."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.field, "code": None}}


class ImageOrder(BaseModel):
    """The body of POST /v1/images/generations; unknown fields are refused, so that none is ignored in silence.

    size: "WIDTHxHEIGHT", one of the model's. seed: of the first picture; the others count on from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1, max_length=4000)
    model: str | None = None
    n: int = Field(1, ge=1, le=4)
    size: str = "auto"
    seed: int | None = Field(None, ge=0, lt=2**62)
    steps: int = Field(40, ge=1, le=100)
    guidance: float = Field(6.0, ge=0, le=30, allow_inf_nan=False)
    response_format: Literal["b64_json"] = "b64_json"


class Offer(BaseModel):
    """What a served version can do. sizes: "WIDTHxHEIGHT" to the row of its bucket table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    digest: str
    sizes: dict[str, int]
    default_size: str

    @classmethod
    def of_card(cls, key: str, digest: str, card: Mapping[str, object], default_bucket: int) -> "Offer":
        """From the pipeline's `experts.json`, whose sizes are (height, width)."""
        rows = _BucketRows.model_validate(card["structure"]).buckets
        sizes = {f"{row.structure[1]}x{row.structure[0]}": row.index for row in rows}
        names = {index: name for name, index in sizes.items()}
        return cls(key=key, digest=digest, sizes=sizes, default_size=names.get(default_bucket, names[0]))

    def bucket_of(self, order: ImageOrder) -> int:
        """The row of the bucket table that an order asks for.

        Raises:
            Refused: the size or the model is not on offer.
        """
        if order.model not in (None, "experts", f"experts@{self.key}"):
            raise Refused(404, f"model = {order.model!r}: accepted are 'experts' and 'experts@{self.key}'", "model")
        size = self.default_size if order.size == "auto" else order.size
        if size not in self.sizes:
            raise Refused(400, f"size = {order.size!r}: accepted are 'auto' and {', '.join(self.sizes)}", "size")
        return self.sizes[size]


class _BucketRow(BaseModel):
    index: int
    structure: tuple[int, int]


class _BucketRows(BaseModel):
    buckets: tuple[_BucketRow, ...]


def read_order(body: bytes) -> ImageOrder:
    """The order of a request body.

    Raises:
        Refused: with the first thing that is wrong, naming field, value and what is accepted.
    """
    if len(body) > MAX_BODY_BYTES:
        raise Refused(400, f"body: {len(body)} bytes; accepted are up to {MAX_BODY_BYTES}")
    try:
        return ImageOrder.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    field = ".".join(str(step) for step in problem["loc"])
    if not field:
        raise Refused(400, "body: it is not a JSON object with the fields of an image generation request")
    if problem["type"] == "missing":
        raise Refused(400, f"{field}: not given, and there is no default", field)
    if problem["type"] == "extra_forbidden":
        raise Refused(400, f"{field}: unknown field; accepted are {', '.join(ImageOrder.model_fields)}", field)
    shown = repr(problem["input"])
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    raise Refused(400, f"{field} = {shown}: {problem['msg'][0].lower()}{problem['msg'][1:]}", field)


def digests_of_keys(keys: str) -> frozenset[str]:
    """SHA-256 digests of comma-separated API keys: the keys themselves go nowhere."""
    return frozenset(hashlib.sha256(key.strip().encode()).hexdigest() for key in keys.split(",") if key.strip())


def check_caller(headers: Mapping[str, str], client_host: str | None, key_digests: frozenset[str]) -> None:
    """Let in who has a key; where no keys are set, only this machine, and not by way of a foreign page in its browser.

    Raises:
        Refused: 401 without a valid key, 403 for another machine or host name where there are no keys.
    """
    if key_digests:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(key.strip().encode()).hexdigest()
        if scheme.lower() != "bearer" or not any([hmac.compare_digest(given, known) for known in key_digests]):
            raise Refused(401, "Authorization: a valid API key is needed, as 'Authorization: Bearer KEY'")
        return
    name = headers.get("host", "").removeprefix("[").split("]")[0]
    name = name.rsplit(":", 1)[0] if name.count(":") == 1 else name
    if client_host not in LOOPBACK or name not in LOOPBACK or headers.get("origin"):
        raise Refused(403, "no API keys are set, so only programs on this machine are served; set PANGU_API_KEYS")
