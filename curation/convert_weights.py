"""Converts a pickled weight file to safetensors once, reading tensors only: python -m curation.convert_weights IN OUT."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file


def convert_weights(source: Path, destination: Path) -> int:
    """Write the tensors of a pickled state dict as safetensors; their number. Code in the pickle is not run."""
    state = torch.load(source, map_location="cpu", weights_only=True)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise ValueError(f"{source}: expected a state dict; got {type(state).__name__}")
    # clones: safetensors refuses tensors that share memory
    tensors = {name: value.detach().clone().contiguous() for name, value in state.items() if torch.is_tensor(value)}
    if not tensors:
        raise ValueError(f"{source}: holds no tensors")
    save_file(tensors, destination)
    return len(tensors)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("destination", type=Path)
    arguments = parser.parse_args()
    count = convert_weights(arguments.source, arguments.destination)
    print(f"{count} tensors written to {arguments.destination}")


if __name__ == "__main__":
    main()
