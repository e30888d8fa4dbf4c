import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pangu.evaluation.dashboard.content import (
    ArtifactVersion,
    BucketCount,
    ChainStep,
    DatasetContent,
    ExpertRun,
    FunnelStage,
    GenerationContent,
    GridColumn,
    GridRow,
    HistoryPoint,
    NightPage,
    Picture,
    PictureGroup,
    PictureTable,
    RejectedRow,
    SiteContent,
    StyleSweep,
    SweepCurve,
    SweepPoint,
    TrainingContent,
)
from pangu.evaluation.metrics import MetricRow
from pangu.evaluation.regression import AlarmRow


def encode(seed: int, file_format: str = "JPEG", size: tuple[int, int] = (64, 48)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "EXIF-CANARY<script>alert(1)</script>"
    Image.fromarray(pixels).save(stream, file_format, exif=exif)
    return stream.getvalue()


def alarm(night: str, stratum: str, p_value: float | None) -> AlarmRow:
    decided = p_value is not None
    numbers = (0.05, 0.04, 0.06, p_value, p_value, 0.02, 4.0) if decided else (None,) * 7
    return AlarmRow("kid", stratum, night, 0.07, *numbers, decided, 6, 0, "judge", night)


Text = Callable[[], str]
BUCKETS = (BucketCount(0, (32, 128), (16, 64), 4, 2), BucketCount(5, (64, 64), (32, 32), 6, 6))


def picture(text: Text, seed: int) -> Picture:
    return Picture(encode(seed), text(), text(), text(), ((text(), text()),))


def version(text: Text, artifact: str, *inputs: str) -> ArtifactVersion:
    return ArtifactVersion(
        artifact=artifact,
        version=f"{artifact}-{text()}",
        digest=text(),
        job=text(),
        rows=12,
        bytes=2048,
        seconds=3.5,
        created_at=text(),
        code=text(),
        environment=text(),
        inputs={name: text() for name in inputs},
        counts={"kept": 10, text(): 2},
        config=((text(), text()),),
    )


def dataset(text: Text) -> DatasetContent:
    return DatasetContent(
        funnel=(FunnelStage(text(), 12, 10, {text(): 2}),),
        pools={text(): 4, "cartoon": 6},
        buckets=BUCKETS,
        kept_by_style=(PictureGroup(text(), (picture(text, 2), picture(text, 3)), text()),),
        kept_by_bucket=(PictureGroup(text(), (picture(text, 4),)),),
        rejected=(RejectedRow(text(), text(), text(), text(), text(), picture(text, 5)),),
    )


def training(text: Text) -> TrainingContent:
    return TrainingContent(
        runs=(
            ExpertRun("structure", (500, 1000), 30, ((0, 1.0), (10, 0.5), (20, 0.4)), 100, 1.0, 9.0, text()),
            ExpertRun(text(), (0, 500), 30, ((0, 1.0), (10, 0.6)), loss_note=text(), facts=((text(), text()),)),
        ),
        boundary=500,
        num_timesteps=1000,
        buckets=BUCKETS,
        prefixes={text(): text()},
        provisional=text(),
    )


def generation(text: Text) -> GenerationContent:
    return GenerationContent(
        rows=3,
        failed={text(): 1},
        groups=(PictureGroup(text(), (picture(text, 6),)),),
        same_prompt=(PictureGroup(text(), (picture(text, 7), picture(text, 8))),),
        settings=((text(), text()),),
    )


def metrics(text: Text) -> tuple[MetricRow, ...]:
    return (
        MetricRow("kid", 0.012, 0.010, 0.014, 96, "all", text(), text()),
        MetricRow("frechet_distance", 3.2, None, None, 96, "all", text(), "NOT MEANINGFUL at n=96: " + text()),
        MetricRow(text(), 0.2, 0.1, 0.3, 48, text(), text(), text()),
    )


def history(text: Text, night: str) -> tuple[HistoryPoint, ...]:
    values = (0.05, 0.06, 0.04)
    whole = [
        HistoryPoint(text(), "kid", v, v - 0.01, v + 0.01, "judge", "all", text(), v > 0.05, night) for v in values
    ]
    name, model = f"style={text()}", text()
    strata = [HistoryPoint(text() + str(v), "kid", v, v - 0.01, v + 0.01, text(), name, model) for v in values]
    return (*whole, *strata)


def night_page(text: Text, metrics_version: ArtifactVersion) -> NightPage:
    return NightPage(
        page=metrics_version.version,
        version=metrics_version,
        night=text(),
        model=text(),
        metrics=metrics(text),
        alarms=(alarm(text(), text(), None), alarm(text(), "all", 0.001)),
        lineage=(version(text, "prompts"), version(text, "generated_images", "prompts")),
        facts=((text(), text()),),
        left_out=((text(), text(), 3),),
        counts={"kept": 10, text(): 2},
        images_per_s=1.5,
        score_name=text(),
        lowest=(picture(text, 9),),
        highest=(picture(text, 10),),
    )


def picture_table(text: Text, seed: int) -> PictureTable:
    columns = (GridColumn(text(), text(), text()), GridColumn(text()))
    return PictureTable(text(), columns, (GridRow(text(), "zh", (picture(text, seed), None), text()),), text())


def sweep(text: Text) -> StyleSweep:
    points = tuple(SweepPoint(s, 0.1 * s, 0.1 * s - 0.05, 0.1 * s + 0.05, 48) for s in (0.0, 1.0, 2.0))
    curves = (SweepCurve("cartoon_rate", text(), points, text()), SweepCurve(text(), text(), points))
    return StyleSweep(text(), text(), text(), curves, version(text, "style_sweep"), picture_table(text, 13))


@pytest.fixture(scope="session")
def build_content() -> Callable[[Text], SiteContent]:
    """A site with every page filled; each text that may come from outside is the next one of `text`."""

    def build(text: Text) -> SiteContent:
        url_list, images = version(text, "url_list"), version(text, "images", "url_list")
        prompts, measured = version(text, "prompts"), version(text, "metrics")
        return SiteContent(
            title=text(),
            preset=text(),
            built_at=text(),
            platform_version=text(),
            notices=(text(),),
            chain=(ChainStep(url_list, text()), ChainStep(images, text(), (prompts,), picture(text, 1))),
            versions=(images, url_list),
            dataset=dataset(text),
            training=training(text),
            generation=generation(text),
            metrics=metrics(text),
            history=history(text, measured.version),
            alarms=(alarm(text(), text(), None), alarm(text(), "all", 0.001)),
            nights=(night_page(text, measured), night_page(text, version(text, "other"))),
            over_time=(picture_table(text, 11),),
            side_by_side=(picture_table(text, 12),),
            sweeps=(sweep(text),),
        )

    return build
