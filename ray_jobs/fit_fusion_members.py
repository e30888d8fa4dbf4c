"""Trains the small members that fusion is shown and measured with, each of which knows one thing, over drawn scenes.

``python -m ray_jobs.fit_fusion_members --data FOLDER --work FOLDER``, all of them or some by ``--only layout edges``:

| member    | latent space        | is told                     | knows                                  |
|-----------|---------------------|-----------------------------|----------------------------------------|
| `layout`  | taef2, 32 channels  | kind, size, side (words)    | what stands where, in any colours      |
| `colours` | vaelight, 4 channels| colour, background (words)  | colours, of any kind of thing anywhere |
| `shapes`  | vaelight            | kind, size, side (words)    | as `layout`                            |
| `example` | taef2               | a picture                   | its colours, background and style      |
| `edges`   | the sample pair's   | drawn edges (ControlNet)    | outlines, in any colours               |
| `palette` | the sample pair's   | 4 x 4 mean colours (ControlNet) | colours, without outlines          |
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from curation.sample.scene_aspects import colour_caption, layout_caption, palette
from curation.sample.scenes import Scene
from curation.sample.shared_pictures import square_pictures
from pangu.autoencoder import encode_pixels
from pangu.batches import BatchPlan
from pangu.control_training import FrozenPair, train_controlnet
from pangu.image_encoder import ClipImageEncoder
from pangu.networks import build_unet
from pangu.noise_schedule import NoiseSchedule
from pangu.pipeline import load_experts
from pangu.taef2 import Taef2Space
from pangu.text_encoder import ClipTextEncoder, TextFeatures
from pangu.time_range import Role
from pangu.torchvision_ops import declare_missing_ops
from pangu.train_step import TrainSettings
from pangu.trainer import StepReport, TrainTask, train
from pangu.training_samples import CaptionTable, LatentBatches, LatentSample
from pangu.vaelight import VaeLightSpace
from ray_jobs.fusion_member_file import CONTROLS, ENCODERS, declarations, side_of
from ray_jobs.fusion_scenes import SIDE_PX, Drawn, draw_one, draw_training, edges_of, example_for
from ray_jobs.fusion_training import SQUARE, ConditionBatches, FeatureBatches, encode_all, identity, start_from
from ray_jobs.job_configs import SAMPLE_MODELS
from ray_jobs.long_command import Say, run_command

declare_missing_ops()

from diffusers import ControlNetModel  # noqa: E402  (torchvision's operators must exist first)

MEMBERS = {"layout": 5500, "colours": 3500, "shapes": 3500, "example": 1500, "edges": 250, "palette": 250}
"""Member to training steps."""
STARTS = {"shapes": "colours", "example": "layout"}
"""Member to the one of the same latent space whose weights it starts from, where that stands in the work folder."""
BATCH, CONTROL_BATCH = 32, 16
WIDTH = (64, 128)
SHARED_SHARE = 0.15
"""Of the example member's training pictures: photographs and emoji, each its own example."""
IMAGE_WIDTH = 256


def both_languages(scene: Scene, _: np.random.Generator) -> tuple[str, str]:
    """What stands where, in English and in Chinese."""
    return layout_caption(scene, "en"), layout_caption(scene, "zh")


class Fitting:
    """All members' training with what they share."""

    def __init__(self, chosen: argparse.Namespace, say: Say) -> None:
        """chosen: the command line."""
        self.chosen, self.say = chosen, say
        self.text = ClipTextEncoder.load(ENCODERS["text"])
        chosen.work.mkdir(parents=True, exist_ok=True)
        self._drawn: dict[tuple[str, int], Drawn] = {}

    def drawn(self, member: str) -> Drawn:
        """What a member is trained on. A ControlNet never sees the combinations kept for evaluation; the others see all.

        Otherwise `layout` would prefer some colours for a kind, and `colours` some kinds for a colour.
        """
        kind, held_out = ("controls", False) if member in CONTROLS else ("all", None)
        side = side_of(member)
        if (kind, side) not in self._drawn:
            self._drawn[kind, side] = draw_training(self.chosen.num_scenes, seed=21, held_out=held_out, side_px=side)
            self.say(f"drawn: {self.chosen.num_scenes} scenes of {side} px")
        return self._drawn[kind, side]

    def fit(self, member: str) -> None:
        """Train one member and write its folder, unless it is there."""
        folder = self.chosen.work / member
        if (folder / "config.json").is_file():
            self.say(f"{member}: found in {folder}")
            return
        torch.manual_seed(list(MEMBERS).index(member))
        network = getattr(self, f"_fit_{member}")()
        network.half().save_pretrained(folder)
        self.say(f"{member}: written to {folder}")

    def settings(self, member: str, rate: float, drop: float = 0.1) -> TrainSettings:
        """Warm-up, then down along a cosine."""
        steps = self.chosen.steps or MEMBERS[member]
        return TrainSettings(
            steps=steps,
            learning_rate=rate,
            warmup_steps=min(100, steps),
            decay_steps=max(1, steps - 100),
            ema_decay=0.995,
            caption_drop=drop,
            autocast="bfloat16",
            checkpoint_every=200,
            seed=31,
        )

    def _captions(
        self, member: str, tell: Callable[[Scene, np.random.Generator], Sequence[str]]
    ) -> list[tuple[str, ...]]:
        rng = np.random.default_rng(22)
        return [tuple(tell(scene, rng)) for scene in self.drawn(member).scenes]

    def _train(self, member: str, channels: int, batches: Any, null: TextFeatures, **network: object) -> Any:  # noqa: ANN401
        sizes = {
            "sample_size": side_of(member) // 8,
            "in_channels": channels,
            "out_channels": channels,
            "block_out_channels": WIDTH,
        }
        unet = build_unet("sample", **sizes, **network)
        if member in STARTS:
            start_from(unet, self.chosen.work / STARTS[member])
        task = TrainTask(
            batches, NoiseSchedule(), identity(side_of(member)), null, self.chosen.work / "checkpoints" / member
        )
        train(unet, task, self.settings(member, 1e-3), self._progress(member)).ema.copy_to(unet)
        return unet

    def _progress(self, member: str) -> Callable[[StepReport], None]:
        losses: list[float] = []

        def on_step(report: StepReport) -> None:
            losses.append(report.loss)
            if report.step % 100 == 0:
                self.say(f"{member} step {report.step}: loss {np.mean(losses[-100:]):.4f}")

        return on_step

    def _latent_batches(
        self, latents: Tensor, captions: list[tuple[str, ...]], seed: int, batch_size: int = BATCH
    ) -> LatentBatches:
        samples = [LatentSample(row, SQUARE, told) for row, told in zip(latents, captions, strict=True)]
        table = CaptionTable(self.text, [caption for told in captions for caption in told])
        return LatentBatches(samples, table, BatchPlan([SQUARE] * len(samples), batch_size, seed))

    def _fit_layout(self) -> Any:  # noqa: ANN401
        latents = self._taef2_latents()
        captions = self._captions("layout", both_languages)
        return self._train("layout", 32, self._latent_batches(latents, captions, 41), self.text.encode([""]))

    def _fit_colours(self) -> Any:  # noqa: ANN401
        def tell(scene: Scene, rng: np.random.Generator) -> list[str]:
            return [colour_caption(scene, language, rng) for language in ("en", "zh") for _ in range(2)]

        batches = self._latent_batches(self._vaelight_latents("colours"), self._captions("colours", tell), 42)
        return self._train("colours", 4, batches, self.text.encode([""]))

    def _fit_shapes(self) -> Any:  # noqa: ANN401
        batches = self._latent_batches(self._vaelight_latents("shapes"), self._captions("shapes", both_languages), 45)
        return self._train("shapes", 4, batches, self.text.encode([""]))

    def _fit_example(self) -> Any:  # noqa: ANN401
        encoder = ClipImageEncoder(ENCODERS["image"])
        rng = np.random.default_rng(23)
        examples = [
            draw_one(example_for(scene, rng), int(rng.integers(2**32))) for scene in self.drawn("example").scenes
        ]
        shared = square_pictures(self.chosen.data, round(SHARED_SHARE * len(examples)), SIDE_PX, seed=24)
        latents = torch.cat([self._taef2_latents(), encode_all(self._taef2().encode, shared)])
        features = encoder.encode([*examples, *shared])
        self.say(f"example: {len(examples)} scenes and {len(shared)} shared pictures with their examples")
        batches = FeatureBatches(latents, features, BATCH, 43)
        null = ClipImageEncoder.null(IMAGE_WIDTH)
        return self._train("example", 32, batches, null, cross_attention_dim=IMAGE_WIDTH)

    def _fit_edges(self) -> Any:  # noqa: ANN401
        drawn = self.drawn("edges")
        conditions = np.stack([edges_of(*each) for each in zip(drawn.scenes, drawn.seeds, strict=True)])
        return self._fit_control("edges", conditions, self._captions("edges", both_languages))

    def _fit_palette(self) -> Any:  # noqa: ANN401
        conditions = np.stack([palette(image) for image in self.drawn("palette").images])

        def tell(scene: Scene, rng: np.random.Generator) -> list[str]:
            return [colour_caption(scene, language, rng) for language in ("en", "zh")]

        return self._fit_control("palette", conditions, self._captions("palette", tell))

    def _fit_control(
        self, member: str, conditions: np.ndarray[Any, np.dtype[np.uint8]], captions: list[tuple[str, ...]]
    ) -> Any:  # noqa: ANN401
        pipeline = load_experts(SAMPLE_MODELS / "experts")
        latents = encode_all(lambda pixels: encode_pixels(pipeline.vae, pixels), self.drawn(member).images)
        pair = FrozenPair(
            experts={Role.STRUCTURE: pipeline.structure, Role.TEXTURE: pipeline.texture},
            split=pipeline.card.split,
            schedule=pipeline.schedule,
            prediction_type=pipeline.card.structure.prediction_type,
            null=self.text.encode([""]),
        )
        controlnet = ControlNetModel.from_unet(pipeline.structure, conditioning_embedding_out_channels=(16, 32, 96))
        controlnet.requires_grad_(True)
        losses: list[float] = []

        def on_step(step: int, loss: float) -> None:
            losses.append(loss)
            if step % 50 == 0:
                self.say(f"{member} step {step}: loss {np.mean(losses[-50:]):.4f}")

        batches = ConditionBatches(self._latent_batches(latents, captions, 44, CONTROL_BATCH), conditions)
        train_controlnet(controlnet, pair, batches, self.settings(member, 5e-4, 0.5), on_step)
        return controlnet

    def _taef2_latents(self) -> Tensor:
        path = self.chosen.work / f"latents-{self.chosen.num_scenes}.safetensors"
        if path.is_file():
            return load_file(path)["taef2"]
        latents = encode_all(self._taef2().encode, self.drawn("layout").images).contiguous()
        save_file({"taef2": latents}, path)
        return latents

    def _vaelight_latents(self, member: str) -> Tensor:
        space = VaeLightSpace(self.chosen.data / "weights" / "vaelight-sd")
        return encode_all(space.encode, self.drawn(member).images)

    def _taef2(self) -> Taef2Space:
        return Taef2Space.load(self.chosen.data / "weights" / "taef2")


def main() -> None:
    """Parse, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with weights/ and images/, see the docs")
    parser.add_argument("--work", type=Path, required=True, help="members and checkpoints; a rerun goes on from them")
    parser.add_argument("--only", nargs="*", choices=tuple(MEMBERS), default=tuple(MEMBERS))
    parser.add_argument("--num-scenes", type=int, default=4800)
    parser.add_argument("--steps", type=int, help="default: each member's own")
    run_command(parser, fit)


def fit(chosen: argparse.Namespace, say: Say) -> None:
    """Train what the command line asks for, then declare all members."""
    torch.backends.cuda.enable_flash_sdp(False)  # on a CPU too: its backward pass there is slow
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    fitting = Fitting(chosen, say)
    for member in chosen.only:
        fitting.fit(member)
    (chosen.work / "members.toml").write_text(declarations(tuple(MEMBERS), chosen.work, chosen.data), encoding="utf-8")
    say(f"written: {chosen.work / 'members.toml'}")


if __name__ == "__main__":
    main()
