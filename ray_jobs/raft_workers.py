"""What works on a phase of a RAFT round: one class expands prompts, the other draws the texts and scores the pictures."""

import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.decode import decode_rgb
from ray_jobs.enhancer_configs import RaftEnhancer
from ray_jobs.language_training import StoredModel
from ray_jobs.part_runner import WorkerSetup, read_plan
from ray_jobs.raft_rows import RAFT_ROWS
from ray_jobs.store import Store

TRAIN = "train"


class ExpandWorker:
    """Gives every row of a part its text; with no model the text is the prompt."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Fetch and load the round's model."""
        from pangu.expansion import Expander, Sampling
        from pangu.language_model import load_language_model
        from pangu.prompt_guard import GuardLimits
        from ray_jobs.device import torch_device

        assert isinstance(setup.config, RaftEnhancer)
        self.config = setup.config
        details = details_of(setup)
        self.rows: dict[str, list[dict[str, Any]]] = details["rows"]
        self.limits = GuardLimits(max_words=self.config.max_words)
        self.expander: Expander | None = None
        if details["model"] is not None:
            with tempfile.TemporaryDirectory(prefix="pangu-language-") as folder:
                stored = StoredModel.from_json(details["model"]).fetch(setup.store, Path(folder))
                model = load_language_model(str(stored), torch_device(self.config.runtime))
            sampling = Sampling(
                temperature=self.config.temperature,
                top_p=self.config.top_p,
                max_new_tokens=model.card.max_new_tokens,
            )
            self.expander = Expander(model, sampling, rows_per_batch=self.config.expand_batch)

    def __call__(self, part: str) -> pa.Table:
        """All rows of a part, each with its text and what the guard has against it."""
        from pangu.expansion import ExpansionRequest
        from pangu.prompt_guard import enhancement_fault, refusal

        rows = self.rows[part]
        started = time.monotonic()
        texts = [row["prompt"] for row in rows]
        if self.expander is not None:
            texts = self.expander.expand([ExpansionRequest(r["prompt"], r["seed"], r["language"]) for r in rows])
        each = (time.monotonic() - started) / max(len(rows), 1)
        for row, text in zip(rows, texts, strict=True):
            row["text"], row["expand_s"] = text, each
            if self.expander is None:
                row["fault"] = refusal(text)
            else:
                row["fault"] = enhancement_fault(row["prompt"], text, row["language"], self.limits)
        return pa.Table.from_pylist(rows, schema=RAFT_ROWS)


class PictureWorker:
    """Draws the texts of a part with the generation job's maker, and scores the pictures.

    Candidates that the guard is against cannot win, so they are not drawn; held-out texts are, unless they may not be.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        """Load generator, rewards and, for held-out prompts, the scorer that rewards nothing."""
        from ray_jobs.generation_worker import ImageMaker
        from ray_jobs.raft_rewards import Rewards, load_held_out_scorer

        assert isinstance(setup.config, RaftEnhancer)
        self.config, self.store = setup.config, setup.store
        details = details_of(setup)
        self.texts: str = details["texts"]
        self.maker = ImageMaker(setup.store, self.config.generation, setup.inputs.get("experts"))
        self.rewards = Rewards(self.config)
        self.judge = None if details["arm"] == TRAIN else load_held_out_scorer(self.config)

    def __call__(self, part: str) -> pa.Table:
        """All rows of a part with picture and scores, or the reason there are none."""
        rows = read_texts(self.store, self.texts, part)
        started = time.monotonic()
        self._draw(rows)
        drawn = time.monotonic()
        self._score([row for row in rows if row["image"] is not None])
        for row in rows:
            row["draw_s"] = (drawn - started) / max(len(rows), 1)
            row["score_s"] = (time.monotonic() - drawn) / max(len(rows), 1)
        return pa.Table.from_pylist(rows, schema=RAFT_ROWS)

    def _draw(self, rows: list[dict[str, Any]]) -> None:
        made = {}
        for row in rows:
            if is_drawn(row):
                made[row["key"]] = self.maker.begin_row(as_prompt(row), 0)
            else:
                row["reason"] = f"not drawn: {row['fault']}"
        self.maker.fill(list(made.values()))
        for row in rows:
            if row["key"] in made:
                found = made[row["key"]]
                row["image"], row["image_sha256"] = found["image"], found["image_sha256"]
                row["reason"] = found["reason"]

    def _score(self, rows: list[dict[str, Any]]) -> None:
        from pangu.reward import Candidate

        if not rows:
            return
        images = [np.asarray(decode_rgb(row["image"]["bytes"])) for row in rows]
        asked = [Candidate(row["prompt"], row["text"], row["language"], row["attributes"]) for row in rows]
        found = self.rewards(images, asked)
        for place, row in enumerate(rows):
            row["rewards"] = json.dumps({name: float(values[place]) for name, values in found.items()})
        if self.judge is not None:
            for row, score in zip(rows, self.judge(images, asked), strict=True):
                row["judge"] = float(score)


def is_drawn(row: dict[str, Any]) -> bool:
    """Whether a picture is made of a row: its text may be drawn, and a candidate could win."""
    fault = row["fault"]
    return fault is None or (row["arm"] != TRAIN and fault != "empty" and not fault.startswith("unsafe"))


def as_prompt(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the generation job takes prompts; the text is what is drawn."""
    empty = dict.fromkeys(("negative", "bucket", "size", "style", "category", "strata", "reason"))
    names = ("language", "attributes")
    wanted = {"prompt_id": row["key"], "prompt": row["text"], "seed": row["image_seed"]}
    return empty | {name: row[name] for name in names} | wanted


def details_of(setup: WorkerSetup) -> dict[str, Any]:
    """What the driver wrote beside the phase's plan."""
    stored = read_plan(setup.store, setup.prefix)
    assert stored is not None
    details: dict[str, Any] = stored["details"]
    return details


def read_texts(store: Store, prefix: str, part: str) -> list[dict[str, Any]]:
    """The rows of a part of the phase before."""
    table = pq.read_table(io.BytesIO(store.read(f"{prefix}/parts/{part}")), use_threads=False)
    rows: list[dict[str, Any]] = table.replace_schema_metadata(None).to_pylist()
    return rows
