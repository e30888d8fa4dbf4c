"""A partial state as bytes, in safetensors: plain arrays and one JSON card, nothing that could run.

Equal states give equal bytes, so a digest of the bytes is a digest of the state.
"""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pangu.evaluation.features import ExtractorCard
from pangu.evaluation.partial_state import PartialState
from pangu.evaluation.statistics import FeatureStatistics

_FORMAT = "evaluation-state/1"


def state_to_bytes(state: PartialState, *, settings: dict[str, Any] | None = None) -> bytes:
    """Return the state as a safetensors file; `settings`, what the caller wants beside it, must be plain JSON."""
    arrays: dict[str, NDArray[Any]] = {"features": state.features}
    if state.logits is not None:
        arrays["logits"] = state.logits
    if state.moments is not None:
        arrays |= {"moments.mean": state.moments.mean, "moments.scatter": state.moments.scatter}
    arrays |= {f"values.{name}": values for name, values in state.values.items()}
    header = {
        "format": _FORMAT,
        "card": asdict(state.card),
        "keys": state.keys,
        "max_rows": state.max_rows,
        "rejected": state.rejected,
        "moments_count": None if state.moments is None else state.moments.count,
        "settings": settings or {},
    }
    # One entry of metadata only: safetensors writes several in no fixed order.
    text = json.dumps(header, sort_keys=True, ensure_ascii=False)
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata={"state": text})


def state_from_bytes(data: bytes) -> tuple[PartialState, dict[str, Any]]:
    """Return the state and its settings; bytes that are no such file are a ValueError."""
    header = _read_header(data)
    arrays = load(data)
    card = header["card"] | {"other_uses": tuple(header["card"]["other_uses"])}
    moments = None
    if header["moments_count"] is not None:
        moments = FeatureStatistics(header["moments_count"], arrays["moments.mean"], arrays["moments.scatter"])
    prefix = "values."
    state = PartialState(
        card=ExtractorCard(**card),
        keys=tuple(header["keys"]),
        features=arrays["features"],
        logits=arrays.get("logits"),
        values={name[len(prefix) :]: each for name, each in sorted(arrays.items()) if name.startswith(prefix)},
        moments=moments,
        max_rows=header["max_rows"],
        rejected=header["rejected"],
    )
    return state, header["settings"]


def _read_header(data: bytes) -> dict[str, Any]:
    """Return the JSON card of the file."""
    try:
        length = int.from_bytes(data[:8], "little")
        if not 0 < length <= len(data) - 8:
            raise ValueError("cut short")
        load(data)
        header: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["state"])
        if header["format"] != _FORMAT:
            raise ValueError(header["format"])
    except (ValueError, KeyError, SafetensorError) as error:
        raise ValueError(
            f"state: received {len(data)} bytes ({error}), accepted: a file of format {_FORMAT}"
        ) from error
    return header
