"""What the site shows, as one plain frozen value: a job builds it from the store, the site only draws it.

Every string may come from strangers (captions, prompts, URLs, names): the templates escape all of them, and nothing
is ever used as a link, an attribute name or a style.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pangu.evaluation.dashboard.enhancement import EnhancementContent
from pangu.evaluation.metrics import MetricRow
from pangu.evaluation.regression import AlarmRow


@dataclass(frozen=True)
class Picture:
    """One picture in a grid.

    image: an encoded file (JPEG, PNG, WebP); it is decoded and written anew as a thumbnail, so no metadata survives.
    facts: short label -> value pairs under the captions ("aesthetic" -> "5.61", "seed" -> "1234").
    """

    image: bytes
    caption_en: str = ""
    caption_zh: str = ""
    title: str = ""
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PictureGroup:
    """Pictures under one heading, such as a style pool or a bucket; `note` says what joins them."""

    name: str
    pictures: tuple[Picture, ...]
    note: str = ""


@dataclass(frozen=True)
class ArtifactVersion:
    """One version of one artifact as its manifest states it.

    artifact: "images". version: its key. digest: of its logical rows. inputs: artifact name -> version.
    counts: reason -> rows, with "kept" for the kept ones. seconds: wall time of the job.
    config: the resolved config as (name, value) pairs. environment: the code and environment fingerprint.
    """

    artifact: str
    version: str
    digest: str
    job: str
    rows: int
    bytes: int = 0
    seconds: float = 0.0
    created_at: str = ""
    code: str = ""
    environment: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    config: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ChainStep:
    """One station of the chain on the overview page; side_inputs: artifacts that join here, as "prompts" does.

    headline: the number that matters there ("1,204 images"). picture: one example, if the artifact has pictures.
    """

    version: ArtifactVersion
    headline: str
    side_inputs: tuple[ArtifactVersion, ...] = ()
    picture: Picture | None = None


@dataclass(frozen=True)
class FunnelStage:
    """One stage of the funnel: rows in, rows kept, and rows dropped by reason; in = kept + sum(dropped)."""

    name: str
    rows_in: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BucketCount:
    """One bucket row: index, structure size and texture size as (height, width) px, rows, and rows for texture."""

    index: int
    structure: tuple[int, int]
    texture: tuple[int, int]
    rows: int
    texture_rows: int


@dataclass(frozen=True)
class RejectedRow:
    """A row that left the chain. picture is None where nothing may or can be shown (unsafe, opted out, not decoded)."""

    key: str
    url: str
    stage: str
    reason: str
    detail: str = ""
    picture: Picture | None = None


@dataclass(frozen=True)
class DatasetContent:
    """The data page. pools: style -> rows. rejected: a sample, as complete as its job wants it to be."""

    funnel: tuple[FunnelStage, ...]
    pools: Mapping[str, int]
    buckets: tuple[BucketCount, ...]
    kept_by_style: tuple[PictureGroup, ...] = ()
    kept_by_bucket: tuple[PictureGroup, ...] = ()
    rejected: tuple[RejectedRow, ...] = ()


@dataclass(frozen=True)
class ExpertRun:
    """How one model was trained. role: "shared", "structure" or "texture". time_range: [start, stop) in timesteps.

    losses: (step, loss) points, smoothed or not as `loss_note` says. data_share: the share of kept rows it may use.
    """

    role: str
    time_range: tuple[int, int]
    steps: int
    losses: tuple[tuple[int, float], ...]
    parameters: int = 0
    data_share: float | None = None
    seconds: float = 0.0
    device: str = ""
    loss_note: str = ""
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TrainingContent:
    """The training page. boundary: T_struct of num_timesteps. prefixes: style -> caption prefix."""

    runs: tuple[ExpertRun, ...]
    boundary: int
    num_timesteps: int
    buckets: tuple[BucketCount, ...] = ()
    prefixes: Mapping[str, str] = field(default_factory=dict)
    provisional: str = ""


@dataclass(frozen=True)
class GenerationContent:
    """Generated pictures. groups: by prompt set, language or style. same_prompt: one prompt across styles a group."""

    rows: int
    failed: Mapping[str, int]
    groups: tuple[PictureGroup, ...] = ()
    same_prompt: tuple[PictureGroup, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class HistoryPoint:
    """One night's value of one metric; only points of equal extractor and stratum are joined by a line.

    label: the night's logical date ("2026-11-23") or, without one, a name. series: the model that was measured.
    is_alarm: whether this number has moved further than quiet nights let it. page: which `NightPage` tells more, if any.
    """

    label: str
    metric: str
    value: float
    low: float | None
    high: float | None
    extractor: str
    stratum: str = "all"
    series: str = "champion"
    is_alarm: bool = False
    page: str = ""


@dataclass(frozen=True)
class GridColumn:
    """One column of a picture table: a night, a model or a scale. page: the `NightPage` that tells more, if any."""

    title: str
    detail: str = ""
    page: str = ""


@dataclass(frozen=True)
class GridRow:
    """One prompt, and its picture in every column; None where that column has none. note: why, or its seed."""

    prompt: str
    language: str
    pictures: tuple[Picture | None, ...]
    note: str = ""


@dataclass(frozen=True)
class PictureTable:
    """The same prompts and seeds down, nights or models or scales across."""

    name: str
    columns: tuple[GridColumn, ...]
    rows: tuple[GridRow, ...]
    note: str = ""


@dataclass(frozen=True)
class NightPage:
    """One model in one night on a page of its own: what a point of a trend opens.

    page: a name that no other night or model has. version: the metrics; lineage: what they were made from, inputs first.
    left_out: (side, reason, rows) of what was not measured. counts: of the generated pictures, "kept" and by reason;
    images_per_s: as they were generated. lowest, highest: pictures in the order of their `score_name`, each with its
    value among its facts.
    """

    page: str
    version: ArtifactVersion
    night: str
    model: str
    metrics: tuple[MetricRow, ...] = ()
    alarms: tuple[AlarmRow, ...] = ()
    lineage: tuple[ArtifactVersion, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    left_out: tuple[tuple[str, str, int], ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    images_per_s: float | None = None
    score_name: str = ""
    lowest: tuple[Picture, ...] = ()
    highest: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class SweepPoint:
    """One number at one scale of a style, with its 95 % interval."""

    scale: float
    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class SweepCurve:
    """One number along the scale. extractor: the label of the network that read it; note: what to know."""

    metric: str
    extractor: str
    points: tuple[SweepPoint, ...]
    note: str = ""


@dataclass(frozen=True)
class StyleSweep:
    """One style of one model from scale 0 up. statement: whether the rate rises, with the paired change."""

    style: str
    model: str
    statement: str
    curves: tuple[SweepCurve, ...]
    version: ArtifactVersion
    pictures: PictureTable | None = None


@dataclass(frozen=True)
class SiteContent:
    """The whole site. Pages whose content is None say what has not been produced yet.

    versions: every artifact version that the provenance page follows, from the metrics back to the URL list.
    notices: sentences that belong at the very top ("provisional sample models").
    """

    title: str
    preset: str
    built_at: str
    chain: tuple[ChainStep, ...]
    versions: tuple[ArtifactVersion, ...] = ()
    dataset: DatasetContent | None = None
    training: TrainingContent | None = None
    generation: GenerationContent | None = None
    metrics: tuple[MetricRow, ...] = ()
    history: tuple[HistoryPoint, ...] = ()
    alarms: tuple[AlarmRow, ...] = ()
    """The decision on every number of every night, in the nights' order; `night` as the history's labels."""
    nights: tuple[NightPage, ...] = ()
    """Newest first; of many nights, only so many have pages."""
    over_time: tuple[PictureTable, ...] = ()
    side_by_side: tuple[PictureTable, ...] = ()
    sweeps: tuple[StyleSweep, ...] = ()
    enhancement: EnhancementContent | None = None
    notices: tuple[str, ...] = ()
    platform_version: str = ""
    total_seconds: float = 0.0
