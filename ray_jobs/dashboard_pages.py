"""The contents of the site's pages, gathered from the store."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from curation.buckets import BucketTable
from curation.decode import decode_rgb
from pangu.evaluation.dashboard.content import (
    BucketCount,
    DatasetContent,
    ExpertRun,
    FunnelStage,
    GenerationContent,
    Picture,
    PictureGroup,
    RejectedRow,
    TrainingContent,
)
from pangu.provenance import encode_picture
from ray_jobs.download_images import BUCKET_TABLES
from ray_jobs.job_configs import PublishDashboard
from ray_jobs.manifest import Manifest
from ray_jobs.parts import read_part, read_rows
from ray_jobs.store import Store
from ray_jobs.stored_pictures import find_pictures

FUNNEL = ("url_list", "images", "scores", "training_set")
NUM_REJECTED = 60
PER_GROUP = 12


def dataset_page(store: Store, found: Mapping[str, Manifest], config: PublishDashboard) -> DatasetContent:
    """Funnel, pools, buckets, kept and rejected pictures."""
    rows = read_rows(store, found["training_set"]).to_pylist()
    kept = sorted((row for row in rows if row["reason"] is None), key=lambda row: str(row["key"]))
    table = BUCKET_TABLES[found["training_set"].config["bucket_table"]]
    stages = tuple(funnel_stage(found, name) for name in FUNNEL if name in found)
    return DatasetContent(
        funnel=stages,
        pools=dict(sorted(Counter(row["style"] for row in kept).items())),
        buckets=bucket_counts(table, kept),
        kept_by_style=picture_groups(store, found["images"], kept, "style", config.num_pictures),
        kept_by_bucket=picture_groups(store, found["images"], kept, "bucket", config.num_pictures),
        rejected=rejected_rows(store, found),
    )


def funnel_stage(found: Mapping[str, Manifest], name: str) -> FunnelStage:
    """What a stage took from the one before, kept, and dropped itself."""
    counts = dict(found[name].counts)
    before = FUNNEL[FUNNEL.index(name) - 1] if name != FUNNEL[0] else None
    earlier = found[before].counts if before else {}
    dropped = {
        reason: number - earlier.get(reason, 0)
        for reason, number in counts.items()
        if reason not in ("in", "kept") and number > earlier.get(reason, 0)
    }
    return FunnelStage(name, counts["kept"] + sum(dropped.values()), counts["kept"], dropped)


def bucket_counts(table: BucketTable, kept: list[dict[str, Any]]) -> tuple[BucketCount, ...]:
    """Rows of each bucket, and those of them that the texture expert may use."""
    rows, texture = Counter(r["bucket"] for r in kept), Counter(r["bucket"] for r in kept if r["texture_eligible"])
    return tuple(BucketCount(b.index, b.structure, b.texture, rows[b.index], texture[b.index]) for b in table.rows)


def picture_groups(
    store: Store, images: Manifest, kept: list[dict[str, Any]], field: str, num_pictures: int
) -> tuple[PictureGroup, ...]:
    """The first pictures of each style or bucket, in key order."""
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in kept:
        members[str(row[field])].append(row)
    names = sorted(members, key=lambda name: (len(name), name))
    each = min(PER_GROUP, max(1, num_pictures // max(len(names), 1)))
    chosen = {name: members[name][:each] for name in names}
    pixels = read_pictures(store, images, [row for rows in chosen.values() for row in rows])
    return tuple(
        PictureGroup(
            name if field == "style" else f"bucket {name}",
            tuple(kept_picture(row, pixels[row["key"]]) for row in chosen[name]),
            f"{len(members[name])} pictures",
        )
        for name in names
    )


def kept_picture(row: dict[str, Any], image: bytes) -> Picture:
    """A training picture with its captions and scores."""
    facts = (
        ("aesthetic", f"{row['aesthetic']:.2f}"),
        ("cartoon", f"{row['cartoon_probability']:.2f}"),
        ("bucket", str(row["bucket"])),
    )
    first = {name: (row[name] or [""])[0] for name in ("captions_en", "captions_zh")}
    return Picture(image, first["captions_en"], first["captions_zh"], facts=facts)


def read_pictures(store: Store, images: Manifest, rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """Encoded pictures by key, as JPEG, PNG or WebP."""
    by_part: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_part[row["image_part"]].append(row)
    pictures = {}
    for part, members in sorted(by_part.items()):
        stored = read_part(store, images, part, ["image"]).column("image")
        for row in members:
            pictures[row["key"]] = showable(stored[row["image_row"]].as_py()["bytes"])
    return pictures


def showable(data: bytes) -> bytes:
    """The same picture in a format a browser's thumbnail is made from."""
    if data[:3] == b"\xff\xd8\xff" or data[:4] in (b"\x89PNG", b"RIFF"):
        return data
    return encode_picture(decode_rgb(data), "png")


def rejected_rows(store: Store, found: Mapping[str, Manifest]) -> tuple[RejectedRow, ...]:
    """A sample over all reasons. Pictures that left before they were stored are not shown."""
    images = {
        row["key"]: row
        for row in read_rows(store, found["images"], ["key", "url", "reason", "error_message"]).to_pylist()
    }
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(read_rows(store, found["training_set"]).to_pylist(), key=lambda row: str(row["key"])):
        if row["reason"] is not None:
            members[row["reason"]].append(row)
    each = max(1, NUM_REJECTED // max(len(members), 1))
    chosen = [row for reason in sorted(members) for row in members[reason][:each]]
    shown = [row for row in chosen if images[row["key"]]["reason"] is None and row["reason"] != "unsafe"]
    pixels = read_pictures(store, found["images"], shown)
    return tuple(
        RejectedRow(
            key=row["key"],
            url=images[row["key"]]["url"] or "",
            stage="images" if images[row["key"]]["reason"] else "training_set",
            reason=row["reason"],
            detail=images[row["key"]]["error_message"] or "",
            picture=Picture(pixels[row["key"]]) if row["key"] in pixels else None,
        )
        for row in chosen
    )


def training_page(found: Mapping[str, Manifest], provisional: str) -> TrainingContent:
    """How each expert was trained."""
    table = BUCKET_TABLES[found["training_set"].config["bucket_table"]]
    runs = []
    for role in ("shared", "structure", "texture"):
        version = found.get(f"expert_{role}")
        if version is None:
            continue
        facts = version.facts
        start, stop = facts["time_range"]
        losses = tuple((step, loss) for step, loss in enumerate(facts["losses"], 1))
        runs.append(
            ExpertRun(
                role=role,
                time_range=(start, stop),
                steps=facts["steps"],
                losses=losses,
                parameters=facts["parameters"],
                data_share=facts["pictures"] / max(facts["pictures_in_set"], 1),
                seconds=version.seconds,
                loss_note="every step, not smoothed",
                facts=(("starts from", facts["init"]), ("pictures", str(facts["pictures"]))),
            )
        )
    return TrainingContent(
        runs=tuple(runs),
        boundary=found["expert_structure"].facts["time_range"][0],
        num_timesteps=1000,
        buckets=bucket_counts(table, []),
        prefixes=found["experts"].config["prefixes"],
        provisional=provisional,
    )


def generation_page(store: Store, generated: Manifest, config: PublishDashboard) -> GenerationContent:
    """Generated pictures by language and style; of a large version only those that are shown are read."""
    rows = read_rows(store, generated, ["key", "style", "language", "reason"]).to_pylist()
    made = sorted((row for row in rows if row["reason"] is None), key=lambda row: str(row["key"]))
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in made:
        members[f"{row['style'] or 'no style'}, {row['language']}"].append(row)
    each = max(1, config.num_pictures // max(len(members), 1))
    shown = {name: members[name][:each] for name in sorted(members)}
    pixels = find_pictures(store, generated, {row["key"] for chosen in shown.values() for row in chosen})
    groups = tuple(
        PictureGroup(
            name, tuple(generated_picture(pixels[row["key"]]) for row in chosen), f"{len(members[name])} pictures"
        )
        for name, chosen in shown.items()
    )
    failed = {name: number for name, number in generated.counts.items() if name not in ("in", "kept")}
    settings = tuple((name, str(value)) for name, value in generated.config.items())
    return GenerationContent(rows=len(rows), failed=failed, groups=groups, settings=settings)


def generated_picture(row: dict[str, Any]) -> Picture:
    """A generated picture with its prompt and seed."""
    chinese = row["prompt"] if row["language"] == "zh" else ""
    english = "" if chinese else row["prompt"]
    return Picture(
        row["image"]["bytes"],
        english,
        chinese,
        facts=tuple((name, str(row[name])) for name in ("seed", "bucket") if row[name] is not None),
    )
