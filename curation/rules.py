"""The rules a picture must keep to enter the training set; the first one it breaks is its reason."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from curation.rejection import Rejection


class RuleSettings(BaseModel):
    """Limits; None switches a rule off. The safety rule speaks only where a safety scorer gave a probability."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_side_px: int = Field(default=64, ge=1)
    max_aspect: float = Field(default=6.0, ge=1.0)
    require_caption: bool = True
    min_similarity: float | None = Field(default=None, ge=-1.0, le=1.0)
    min_aesthetic: float | None = None
    max_unsafe_probability: float | None = Field(default=0.5, ge=0.0, le=1.0)
    require_safety_score: bool = False


@dataclass(frozen=True)
class Candidate:
    """What the rules look at; `similarities` are of the captions there are, `unsafe_probability` may be unknown."""

    width: int
    height: int
    num_captions: int
    similarities: tuple[float, ...]
    aesthetic: float
    unsafe_probability: float | None


def first_broken_rule(candidate: Candidate, settings: RuleSettings) -> Rejection | None:
    """The reason of the first rule broken, or None. ValueError where a safety score is required and missing."""
    short, long = sorted((candidate.width, candidate.height))
    unsafe = candidate.unsafe_probability
    if unsafe is None and settings.require_safety_score:  # closed on failure: no scorer, no training set
        raise ValueError("require_safety_score is set, but a picture has no safety score; run the safety scorer first")
    limit = settings.max_unsafe_probability
    similarities, aesthetic = settings.min_similarity, settings.min_aesthetic
    rules = (
        (Rejection.UNSAFE, unsafe is not None and limit is not None and unsafe > limit),
        (Rejection.SIDE_TOO_SHORT, short < settings.min_side_px),
        (Rejection.ASPECT_TOO_EXTREME, long > settings.max_aspect * short),
        (Rejection.NO_CAPTION, settings.require_caption and candidate.num_captions == 0),
        (
            Rejection.LOW_SIMILARITY,
            similarities is not None and max(candidate.similarities, default=1.0) < similarities,
        ),
        (Rejection.LOW_AESTHETIC, aesthetic is not None and candidate.aesthetic < aesthetic),
    )
    return next((reason for reason, is_broken in rules if is_broken), None)
