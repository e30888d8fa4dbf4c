"""Whether the owner of a picture reserves it, read from the headers of the answer that carries it.

Read are X-Robots-Tag (noai and its kin), the TDM Reservation Protocol (`tdm-reservation: 1`) and the IETF draft's
`Content-Usage` (`train-ai=n`). Sources: Google's robots meta tag reference, W3C TDMRep, draft-ietf-aipref-attach.
"""

import json
import re
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

Headers = Sequence[tuple[str, str]]
"""(name, value) pairs as received: a repeated header stands there repeatedly."""

_EVIDENCE_HEADERS = ("x-robots-tag", "tdm-reservation", "tdm-policy", "content-usage")
_VALUED_DIRECTIVES = frozenset(
    {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview", "indexifembedded"}
)
_ROBOT_NAME = re.compile(r"[a-z0-9_*][a-z0-9_.*/-]*")


class OptOutPolicy(BaseModel):
    """Which reservations are honoured, and the robot name under which this crawler is addressed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    robot: str = "pangu-curation"
    directives: frozenset[str] = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
    honour_tdm: bool = True
    honour_content_usage: bool = True


def find_opt_out(headers: Headers, policy: OptOutPolicy) -> str | None:
    """The first reservation in the headers that binds us, as 'header: what it says', or None."""
    for value in _values(headers, "x-robots-tag"):
        for directive in directives_for(value, policy.robot):
            if directive in policy.directives:
                return f"x-robots-tag: {directive}"
    if policy.honour_tdm and any(_is_reserved(value) for value in _values(headers, "tdm-reservation")):
        return "tdm-reservation: 1"
    if policy.honour_content_usage:
        for value in _values(headers, "content-usage"):
            if any(_forbids_training(item) for item in value.split(",")):
                return "content-usage: train-ai=n"
    return None


def opt_out_evidence(headers: Headers) -> str:
    """The headers that were looked at, as JSON {name: [values]}; '{}' says that none of them was sent."""
    found = {name: values for name in _EVIDENCE_HEADERS if (values := list(_values(headers, name)))}
    return json.dumps(found, sort_keys=True, ensure_ascii=False)


def directives_for(value: str, robot: str) -> Iterable[str]:
    """The directives in one X-Robots-Tag value that speak to `robot`, in lower case.

    `name:` opens a scope for what follows it, up to the next name; without one every robot is meant. A directive that
    takes a value has a colon too (`unavailable_after: 25 Jun 2030 15:00:00 PST, noai`) and opens no scope: taking
    what stands before the first colon for a robot's name would lose the `noai` behind it.
    """
    scope: str | None = None
    for token in value.lower().split(","):
        text = token.strip()
        while ":" in text:
            name, rest = (part.strip() for part in text.split(":", 1))
            if name in _VALUED_DIRECTIVES or (name and not _ROBOT_NAME.fullmatch(name)):
                break  # a directive with its value, or the clock time within one
            scope, text = name or scope, rest
        if text and scope in (None, "*", robot.lower()):
            yield text.split(":", 1)[0].strip()


def _values(headers: Headers, name: str) -> Iterable[str]:
    return (value for header, value in headers if header.strip().lower() == name)


def _is_reserved(value: str) -> bool:
    return any(item.split(";")[0].strip().strip('"') == "1" for item in value.split(","))


def _forbids_training(item: str) -> bool:
    name, _, preference = item.split(";")[0].partition("=")
    return name.strip().lower() == "train-ai" and preference.strip().strip('"').lower() == "n"
