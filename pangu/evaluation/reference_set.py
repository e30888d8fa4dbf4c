"""Reference states cached by the hash of what they depend on, with a card that is checked when they are read."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pangu.evaluation.partial_state import PartialState
from pangu.evaluation.set_card import RUN_ALIKE, SetCard, check_comparable
from pangu.evaluation.state_file import state_from_bytes, state_to_bytes

SUFFIX = ".reference.safetensors"


def reference_key(card: SetCard, *, max_rows: int | None = None) -> str:
    """Return the sha256 under which this reference is kept: of the card, its pictures' hash, and how many rows stay."""
    if not card.content:
        raise ValueError("content: received an empty text, accepted: the content hash of the reference's pictures")
    text = json.dumps(asdict(card) | {"max_rows": max_rows}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def reference_to_bytes(state: PartialState, card: SetCard) -> bytes:
    """Return state and card as one file; a card of another extractor than the state's is a ValueError."""
    own = (state.card.name, state.card.fingerprint, state.card.resize_mode)
    stated = (card.extractor, card.fingerprint, card.resize_mode)
    if own != stated:
        raise ValueError(f"card: received {stated}, accepted: the state's own {own}")
    return state_to_bytes(state, settings={"reference": asdict(card)})


def reference_from_bytes(data: bytes, expected: SetCard) -> PartialState:
    """Return the state, after its card was found equal to `expected`; a difference is a ValueError naming the field."""
    state, settings = state_from_bytes(data)
    if "reference" not in settings:
        raise ValueError("reference: received a state without a card, accepted: a file of `reference_to_bytes`")
    check_comparable(expected, SetCard(**settings["reference"]), (*RUN_ALIKE, "content"))
    return state


def cached_reference(
    folder: Path, card: SetCard, compute: Callable[[], PartialState], *, max_rows: int | None = None
) -> PartialState:
    """Return the reference of this card from `folder`, or compute and keep it there.

    The file appears under its name only when it is whole; a damaged one is a ValueError, never a silent recompute.
    """
    path = folder / f"{reference_key(card, max_rows=max_rows)}{SUFFIX}"
    if path.is_file():
        return reference_from_bytes(path.read_bytes(), card)
    state = compute()
    data = reference_to_bytes(state, card)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(data)
    unfinished.replace(path)
    return state
