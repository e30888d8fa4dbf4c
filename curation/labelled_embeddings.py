"""Embeds labelled pictures once: what is embedded is kept on disk by picture and tower, so a rerun goes on."""

import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from curation.clip_scorer import ClipScorer
from curation.decode import DecodeSettings, decode_rgb
from curation.errors import PictureError
from curation.fingerprint import colour_layout, perceptual_hash, sha256_hex
from curation.labelled_pictures import LabelledPictures, Listed
from curation.rejection import Rejection

Matrix = npt.NDArray[np.float32]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Embedded:
    """What is kept of one picture: embedding (E,) float32, 64-bit hash of its look, colour layout of 192 bytes."""

    embedding: Matrix
    look: str
    colours: bytes


@dataclass
class LabelledRow:
    """One listed picture and what became of it: `found`, or `reason`."""

    listed: Listed
    sha256: str | None = None
    reason: str | None = None
    error_message: str | None = None
    found: Embedded | None = None


@dataclass
class EmbeddingCache:
    """Embeddings in a folder, one file a stored batch; a file that was torn is left out and made again."""

    folder: Path
    known: dict[str, Embedded] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, tower_version: str) -> "EmbeddingCache":
        """What `folder` holds of this tower; another tower's embeddings stand in another folder."""
        cache = cls(folder / tower_version)
        cache.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(cache.folder.glob("*.npz")):
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                    columns = [stored[name] for name in ("sha256", "embedding", "look", "colours")]
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                path.unlink()
                continue
            for sha256, embedding, look, colours in zip(*columns, strict=True):
                cache.known[str(sha256)] = Embedded(embedding, str(look), colours.tobytes())
        return cache

    def add(self, batch: dict[str, Embedded]) -> None:
        """Keep a batch: one file, complete or absent."""
        keys = sorted(batch)
        path = self.folder / f"{sha256_hex(' '.join(keys).encode())[:24]}.npz"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(
                file,
                sha256=np.array(keys),
                embedding=np.stack([batch[key].embedding for key in keys]),
                look=np.array([batch[key].look for key in keys]),
                colours=np.stack([np.frombuffer(batch[key].colours, np.uint8) for key in keys]),
            )
        partial.replace(path)
        self.known.update(batch)


def embed_labelled_pictures(
    pictures: LabelledPictures,
    scorer: ClipScorer,
    cache: EmbeddingCache,
    *,
    say: Say,
    decode: DecodeSettings | None = None,
    keep_every: int = 256,
) -> list[LabelledRow]:
    """A row for every listed picture, in order. Bytes that stand there twice are embedded and kept once."""
    rows: list[LabelledRow] = []
    waiting: dict[str, tuple[torch.Tensor, str, bytes]] = {}
    failed: dict[str, PictureError] = {}
    num_before = len(cache.known)

    def keep() -> None:
        if waiting:
            embeddings = scorer.embed_preprocessed([inputs for inputs, _, _ in waiting.values()])
            looks = [(look, colours) for _, look, colours in waiting.values()]
            made = {sha256: Embedded(embeddings[at], *looks[at]) for at, sha256 in enumerate(waiting)}
            cache.add(made)
            waiting.clear()
        say(f"embedded {len(rows)} of {len(pictures.listed)} pictures ({len(cache.known) - num_before} now)")

    for listed, data in zip(pictures.listed, pictures.read(), strict=True):
        row = LabelledRow(listed)
        rows.append(row)
        if listed.label is None:
            data = PictureError(Rejection.MALFORMED_ROW, "the row has no label")
        if isinstance(data, PictureError):
            row.reason, row.error_message = data.reason.value, str(data)
            continue
        row.sha256 = sha256_hex(data)
        if row.sha256 not in cache.known and row.sha256 not in waiting and row.sha256 not in failed:
            try:
                picture = decode_rgb(data, decode)
                waiting[row.sha256] = (scorer.preprocess(picture), perceptual_hash(picture), colour_layout(picture))
            except PictureError as error:
                failed[row.sha256] = error
        if row.sha256 in failed:
            row.reason, row.error_message = failed[row.sha256].reason.value, str(failed[row.sha256])
        if len(waiting) == keep_every:
            keep()
    keep()
    for row in rows:
        if row.reason is None:
            row.found = cache.known[str(row.sha256)]
    mark_repeated(rows)
    return rows


def mark_repeated(rows: Iterable[LabelledRow]) -> None:
    """Bytes under one label stay once, bytes under two labels leave altogether."""
    of_bytes: dict[str, list[LabelledRow]] = {}
    for row in rows:
        if row.reason is None:
            of_bytes.setdefault(str(row.sha256), []).append(row)
    for same in of_bytes.values():
        labels = sorted({str(row.listed.label) for row in same})
        if len(labels) > 1:
            for row in same:
                row.reason, row.error_message = Rejection.LABELS_DISAGREE.value, f"labelled {' and '.join(labels)}"
        else:
            for row in same[1:]:
                row.reason, row.error_message = Rejection.DUPLICATE_EXACT.value, f"the bytes of {same[0].listed.name}"
