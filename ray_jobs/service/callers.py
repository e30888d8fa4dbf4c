"""Who may come in, and whose orders are whose: API keys by digest, and a shut door where there are none."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from ray_jobs.service.refusal import refuse

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
LOCAL = "local"
"""The tenant where no keys are set."""


@dataclass(frozen=True)
class Keyring:
    """Digests of the keys that open, each with its tenant; the keys themselves go nowhere."""

    tenants: Mapping[str, str]

    @classmethod
    def of_text(cls, text: str) -> "Keyring":
        """From comma-separated keys. `name:key` gives a key's tenant a name; several keys may share one.

        Raises:
            ValueError: a key is shorter than 12 characters.
        """
        tenants = {}
        for number, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), 1):
            name, colon, key = entry.partition(":")
            key = key if colon else name
            if len(key) < 12:
                raise ValueError(f"PANGU_API_KEYS: key {number} has {len(key)} characters; accepted are 12 or more")
            digest = digest_of(key)
            tenants[digest] = name if colon else f"key-{digest[:12]}"
        return cls(tenants)

    def __bool__(self) -> bool:
        """Whether there are any keys."""
        return bool(self.tenants)

    def admit(self, headers: Mapping[str, str], client_host: str | None) -> str:
        """The tenant who calls. Without keys, this machine alone, and not by way of a foreign page in its browser.

        Raises:
            Refused: 401 without a valid key, 403 for another machine or a foreign page.
        """
        refuse_foreign_page(headers, needs_loopback=not self.tenants)
        if not self.tenants:
            if client_host not in LOOPBACK:
                raise refuse(403, "no API keys are set, so only this machine is served; set PANGU_API_KEYS")
            return LOCAL
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = digest_of(key.strip())
        found = [tenant for known, tenant in self.tenants.items() if hmac.compare_digest(given, known)]
        if scheme.lower() != "bearer" or not found:
            raise refuse(401, "Authorization: a valid API key is needed, as 'Authorization: Bearer KEY'")
        return found[0]


def digest_of(key: str) -> str:
    """SHA-256 of a key, in hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def refuse_foreign_page(headers: Mapping[str, str], *, needs_loopback: bool) -> None:
    """Refuse what a page of another site sends through somebody's browser, also one that renamed itself (DNS rebinding).

    Raises:
        Refused: 403.
    """
    host = headers.get("host", "").lower()
    if needs_loopback and host_name(host) not in LOOPBACK:
        raise refuse(403, "Host: accepted is this machine's own name, for no API keys are set")
    origin = headers.get("origin", "").lower()
    if origin and origin.partition("://")[2] != host:
        raise refuse(403, "Origin: pages of other sites are not served")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise refuse(403, "Sec-Fetch-Site: pages of other sites are not served")


def host_name(host: str) -> str:
    """Without port and brackets."""
    if host.startswith("["):
        return host[1:].split("]")[0]
    return host.rsplit(":", 1)[0] if host.count(":") == 1 else host
