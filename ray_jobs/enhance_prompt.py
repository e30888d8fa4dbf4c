"""``pangu enhance "a red ball"``: one prompt through the published enhancer, or any causal language model's folder."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ray_jobs.store import STORE_VARIABLE, Store

if TYPE_CHECKING:
    from pangu.enhancer import PromptEnhancer


def enhance(
    prompt: Annotated[str, typer.Argument(help="a few words, in English or Chinese")],
    seed: Annotated[int, typer.Option(help="equal prompts and seeds give equal texts")] = 0,
    language: Annotated[str | None, typer.Option(help="en or zh; found from the prompt by default")] = None,
    version: Annotated[str, typer.Option(help="a version of the store's enhancer")] = "enhancer",
    model: Annotated[str | None, typer.Option(help="instead: a folder, or hub id@revision")] = None,
    store: Annotated[str | None, typer.Option(help=f"as of run; ${STORE_VARIABLE} or .pangu/store by default")] = None,
) -> None:
    """Write one prompt out, with background and style; what is empty or unsafe is refused."""
    from pangu.enhancer import PromptEnhancer

    if language not in (None, "en", "zh"):
        raise ValueError(f"--language: {language!r}; accepted are en and zh")
    if model is not None:
        sys.stdout.write(PromptEnhancer.load(model).enhance(prompt, seed, language) + "\n")
        return
    with tempfile.TemporaryDirectory(prefix="pangu-enhancer-") as name:
        enhancer = load_published(Store.from_environment(store), version, Path(name))
        sys.stdout.write(enhancer.enhance(prompt, seed, language) + "\n")


def load_published(store: Store, version: str, folder: Path, device: str = "cpu") -> "PromptEnhancer":
    """The enhancer of a version, fetched into the folder. UnknownVersion if there is none."""
    from pangu.enhancer import PromptEnhancer
    from ray_jobs.folder_versions import fetch_version
    from ray_jobs.versions import Versions

    found = Versions(store).resolve(version)
    if found.artifact not in ("enhancer", "enhancer_sft"):
        raise ValueError(f"--version: {version} is a version of {found.artifact}; accepted are enhancer, enhancer_sft")
    return PromptEnhancer.load(fetch_version(store, found, folder), device)
