"""Sorts pictures into the style pools and puts each pool's prefix before its captions.

Source: arXiv 2312.16486, supplement: aesthetic-preferred, cartoon and other pictures are disjoint pools; the first
two carry a special prefix. The prefix is one rare character and a space; the characters are the released ones.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Style(StrEnum):
    """The pools; OTHER has no prefix."""

    AESTHETIC = "aesthetic"
    CARTOON = "cartoon"
    OTHER = "other"


RELEASED_PREFIXES: dict[str, str] = {"aesthetic": "\u7fa9 ", "cartoon": "\u9945 ", "photo": "\u9719 "}
"""The prefixes of the released model; 'photo' belongs to no pool here."""


class StyleSettings(BaseModel):
    """Thresholds of the pools and their prefixes.

    A picture whose cartoon probability lies strictly between `cartoon_low` and `cartoon_high` is of neither pool.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_aesthetic: float = 5.5
    cartoon_low: float = Field(default=0.3, ge=0.0, le=1.0)
    cartoon_high: float = Field(default=0.7, ge=0.0, le=1.0)
    prefixes: dict[Style, str] = Field(
        default_factory=lambda: {style: RELEASED_PREFIXES[style] for style in (Style.AESTHETIC, Style.CARTOON)}
    )

    @model_validator(mode="after")
    def _check(self) -> "StyleSettings":
        if self.cartoon_low > self.cartoon_high:
            raise ValueError(f"cartoon_low must be at most cartoon_high ({self.cartoon_high}); got {self.cartoon_low}")
        if Style.OTHER in self.prefixes:
            raise ValueError("prefixes: the pool 'other' has no prefix")
        values = [prefix.strip() for prefix in self.prefixes.values()]
        if len(set(values)) != len(values) or not all(values):
            raise ValueError(f"prefixes: each pool needs a visible prefix of its own; got {self.prefixes}")
        return self


def choose_style(aesthetic: float, cartoon_probability: float, settings: StyleSettings) -> Style:
    """The one pool of a picture; what is cartoon and beautiful too is cartoon."""
    if cartoon_probability >= settings.cartoon_high:
        return Style.CARTOON
    if cartoon_probability <= settings.cartoon_low and aesthetic >= settings.min_aesthetic:
        return Style.AESTHETIC
    return Style.OTHER


def add_prefix(caption: str, style: Style, settings: StyleSettings) -> str:
    """The caption with its pool's prefix; one that has it already is left alone."""
    prefix = settings.prefixes.get(style, "")
    return caption if caption.startswith(prefix) else prefix + caption


def check_prefixes(
    prefixes: Sequence[str], tokenize: Callable[[str], Sequence[int]], unknown_token_id: int | None, tokenizer: str
) -> None:
    """ValueError where a tokenizer cannot tell a prefix: it becomes the unknown token, nothing, or another's tokens.

    `tokenize` gives the token ids of a text without start, end and padding tokens.
    """
    seen: dict[tuple[int, ...], str] = {}
    for prefix in prefixes:
        name = f"style prefix {prefix.strip()!r} (U+{ord(prefix.strip()[0]):04X})"
        tokens = tuple(tokenize(prefix))
        if not tokens:
            raise ValueError(f"{name} has no token in {tokenizer}; choose a character of its vocabulary")
        if unknown_token_id is not None and unknown_token_id in tokens:
            raise ValueError(f"{name} is an unknown token in {tokenizer}; choose a character of its vocabulary")
        if tokens in seen:
            raise ValueError(f"{name} has the same tokens in {tokenizer} as {seen[tokens].strip()!r}")
        seen[tokens] = prefix
