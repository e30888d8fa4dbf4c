"""What an answer other than pictures looks like: OpenAI's error object, with the status and headers that belong to it."""

from dataclasses import dataclass
from typing import Any

RETRY_AFTER_S = 2


@dataclass(frozen=True)
class Refusal:
    """Why there are no pictures. It travels between replicas as a value.

    status: of HTTP. field: what the sentence is about. code: OpenAI's word for it, where there is one.
    """

    status: int
    message: str
    field: str | None = None
    code: str | None = None
    retry_after_s: int | None = None

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(self.status)
        kind = kind or ("server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.field, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """The answer's own headers."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


class Refused(Exception):
    """A refusal on its way up."""

    def __init__(self, refusal: Refusal) -> None:
        """Hold the refusal."""
        super().__init__(refusal.message)
        self.refusal = refusal


def refuse(status: int, message: str, field: str | None = None, code: str | None = None) -> Refused:
    """What to raise; 429 and 503 say when to come again."""
    retry_after_s = RETRY_AFTER_S if status in (429, 503) else None
    return Refused(Refusal(status, message, field, code, retry_after_s))
