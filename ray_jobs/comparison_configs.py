"""The configuration of the jobs that compare: a style's scales, pictures by other models, and the site."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from ray_jobs.config_model import JobConfig, Share
from ray_jobs.generation_configs import GenerateImages

if TYPE_CHECKING:
    from ray_jobs.manifest import Manifest
    from ray_jobs.versions import Versions


class SweepStyles(JobConfig):
    """Which styles at which scales, on how many prompts, read by which scorer."""

    threads_decide: ClassVar[bool] = True
    styles: tuple[str, ...] = Field(("cartoon", "aesthetic"), min_length=1, description="styles of the model's card")
    scales: tuple[float, ...] = Field(
        (0, 1, 2, 3, 4, 5, 6), min_length=2, description="s_style, rising; 0 is made once for all styles"
    )
    num_prompts: int = Field(
        48, ge=2, description="of the prompts, in the order of their ids' hashes, without the style they name"
    )
    num_shown: int = Field(6, ge=0, le=100, description="prompts whose pictures are kept for the site")
    steps: int = Field(40, ge=1, le=1000)
    guidance: float = Field(6.0, ge=0, le=30)
    model: str = Field(
        "experts", description="'experts' for the published pair; else a folder of one, or hub id@revision"
    )
    run_seed: int = Field(0, ge=0)
    batch_size: int = Field(16, ge=1, description="rows of one padded batch; part of the key, since shapes decide bits")
    scorer: str = Field("sample", description="'sample', a local open_clip folder, or hub id@revision")
    aesthetic_head: str | None = Field(None, description="safetensors head; the scorer folder's own where it has one")
    cartoon_head: str | None = Field(None, description="safetensors head; the scorer folder's own where it has one")

    @model_validator(mode="after")
    def _check_scales(self) -> "SweepStyles":
        if list(self.scales) != sorted(set(self.scales)) or not 0 <= self.scales[0] <= self.scales[-1] <= 30:
            raise ValueError(f"scales: got {self.scales}, accepted are rising numbers from 0 to 30")
        return self

    def paths(self) -> Iterable[str]:
        """Weights decide by content."""
        own = ("scorer", "aesthetic_head", "cartoon_head")
        return own if self.model == "experts" else (*own, "model")

    def wanted_inputs(self, optional: tuple[str, ...]) -> tuple[str, ...]:
        """The published pair, unless another model is named."""
        return optional if self.model == "experts" else ()

    def generation(self, styles: dict[str, float]) -> GenerateImages:
        """How the pictures of one scale are sampled: as `generate_images` does it."""
        return GenerateImages(
            steps=self.steps,
            guidance=self.guidance,
            style_scales=styles,
            model=self.model,
            run_seed=self.run_seed,
            batch_size=self.batch_size,
            runtime=self.runtime,
        )


class RegisterPictures(JobConfig):
    """Pictures that another model made of the same prompts: a column of the prompt list, or a folder."""

    model: str = Field(min_length=1, max_length=200, description="the model's name, and its column of the prompt list")
    folder: str | None = Field(
        None, description="pictures named by prompt id, or what the list's paths stand under; the list's by default"
    )
    rows_per_part: int = Field(64, ge=1)
    max_failed_share: Share = Field(
        0.5, description="the run fails when more than this share of prompts has no picture"
    )

    def paths(self) -> Iterable[str]:
        """The folder's content decides, not where it stands."""
        return ("folder",)


class PublishDashboard(JobConfig):
    """What the site shows."""

    title: str = "PanGu-Draw sample"
    num_pictures: int = Field(48, ge=1, le=1000)
    thumbnail_px: int = Field(192, ge=32, le=1024)
    num_night_pages: int = Field(60, ge=0, le=1000, description="nights of each model with a page of their own, newest")
    num_extremes: int = Field(12, ge=0, le=100, description="lowest and highest scores shown on such a page, of each")
    num_grid_nights: int = Field(8, ge=2, le=60, description="newest nights beside each other, of each model")
    num_grid_prompts: int = Field(8, ge=1, le=200, description="prompts in each table of nights or models")

    def found_inputs(self, versions: "Versions", inputs: Mapping[str, "Manifest"]) -> Mapping[str, "Manifest"]:
        """The newest style sweep, and what every model made of the newest night's prompts."""
        from ray_jobs.side_by_side import site_inputs

        return site_inputs(versions, inputs["history"])
