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
    HistoryPoint,
    Picture,
    PictureGroup,
    RejectedRow,
    SiteContent,
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


def history(text: Text) -> tuple[HistoryPoint, ...]:
    return tuple(
        HistoryPoint(text(), "kid", value, value - 0.01, value + 0.01, "judge", series=text(), is_alarm=value > 0.05)
        for value in (0.05, 0.06, 0.04)
    )


@pytest.fixture(scope="session")
def build_content() -> Callable[[Text], SiteContent]:
    """A site with every page filled; each text that may come from outside is the next one of `text`."""

    def build(text: Text) -> SiteContent:
        url_list, images = version(text, "url_list"), version(text, "images", "url_list")
        prompts = version(text, "prompts")
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
            history=history(text),
            alarms=(alarm(text(), text(), None), alarm(text(), "all", 0.001)),
        )

    return build
