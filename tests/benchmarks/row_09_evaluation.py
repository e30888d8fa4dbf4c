"""Row 9: FID, IS and CLIP score of a folder of pictures against torch-fidelity and open_clip, both in float32.

Inception and its weights are drawn once from a seed, on both sides the same: speed and agreement do not depend on them.
"""

import functools
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from pangu.evaluation.distribution_metrics import FrechetDistance, InceptionScore
from pangu.evaluation.evaluation_pass import EvaluationPass
from pangu.evaluation.features import CallableFeatures
from pangu.evaluation.image_metrics import ClipScore
from pangu.evaluation.inception_features import InceptionFeatures
from pangu.evaluation.inception_score import inception_score
from pangu.torchvision_ops import declare_missing_ops
from tests.benchmarks.interleaved import THREADS, BenchmarkRow, compare

SCORER = Path(__file__).parents[2] / "ray_jobs" / "sample_models" / "scorer"
PEER = "torch-fidelity 0.4 (fid, isc), then open_clip, fp32"
SIDE_PX = 256
BATCH = 16
PROMPT = "a picture of number {}"
Numbers = dict[str, float]


def write_pictures(folder: Path, count: int, seed: int) -> Path:
    """PNG files with structure at all scales, as drawings and photographs have it."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for row in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((SIDE_PX, SIDE_PX))
        noise = rng.integers(0, 40, (SIDE_PX, SIDE_PX, 3))
        pixels = np.clip(np.asarray(coarse).astype(int) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{row:05d}.png")
    return folder


def write_inception(folder: Path) -> tuple[Path, Path]:
    """Inception's tensors drawn from a seed: as the pickle that the peer reads, and as safetensors."""
    declare_missing_ops()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict, *_, **__):
            """Keep what the layers drew."""

    empty = folder / "empty.pth"
    torch.save({}, empty)
    torch.manual_seed(0)
    network = Unloaded("drawn", ["2048"], feature_extractor_weights_path=str(empty))
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, tensor in state.items():
        if name.endswith("conv.weight"):  # layers' own draws shrink the signal until all pictures look the same
            tensor.normal_(0.0, (2.0 / tensor[0].numel()) ** 0.5)
    state["fc.weight"].mul_(30.0)  # classes that differ enough for an inception score above 1
    torch.save(state, folder / "inception.pth")
    save_file(state, folder / "inception.safetensors")
    return folder / "inception.pth", folder / "inception.safetensors"


def load_clip():
    """The sample scorer's model, its preprocessing and its tokenizer, on one side as on the other."""
    import open_clip

    name = f"local-dir:{SCORER}"
    model, preprocess = open_clip.create_model_from_pretrained(name, device="cpu")
    return model.eval(), preprocess, open_clip.get_tokenizer(name)


@torch.inference_mode()
def theirs(generated: Path, reference: Path, weights: Path, clip) -> Numbers:
    from torch_fidelity import calculate_metrics

    found = calculate_metrics(
        input1=str(generated),
        input2=str(reference),
        fid=True,
        isc=True,
        cuda=False,
        cache=False,
        verbose=False,
        batch_size=BATCH,
        isc_splits=1,
        feature_extractor_weights_path=str(weights),
    )
    model, preprocess, tokenizer = clip
    scores = []
    paths = sorted(generated.glob("*.png"))
    for start in range(0, len(paths), BATCH):
        taken = paths[start : start + BATCH]
        pixels = torch.stack([preprocess(Image.open(path).convert("RGB")) for path in taken])
        images = torch.nn.functional.normalize(model.encode_image(pixels), dim=-1)
        tokens = tokenizer([PROMPT.format(path.stem) for path in taken])
        texts = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
        scores.append(100 * (images * texts).sum(dim=-1).clamp(min=0))
    return {
        "fid": found["frechet_inception_distance"],
        "is": found["inception_score_mean"],
        "clip": float(torch.cat(scores).mean()),
    }


def ours(generated: Path, reference: Path, weights: Path, clip) -> Numbers:
    model, preprocess, tokenizer = clip

    @torch.inference_mode()
    def embed_images(images):
        pixels = torch.stack([preprocess(Image.fromarray(image)) for image in images])
        return np.concatenate([model.encode_image(batch).numpy() for batch in pixels.split(BATCH)])

    @torch.inference_mode()
    def embed_texts(texts):
        return np.concatenate([model.encode_text(batch).numpy() for batch in tokenizer(list(texts)).split(BATCH)])

    width = json.loads((SCORER / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]["embed_dim"]
    clip_features = CallableFeatures(
        embed_images, name="clip", fingerprint="0" * 12, num_dims=width, resize_mode="its own", other_uses=()
    )
    inception = InceptionFeatures(weights, batch_size=BATCH)
    metrics = (FrechetDistance("inception", at_infinity=False), InceptionScore("inception"), ClipScore("clip"))
    both = EvaluationPass(
        {"inception": inception, "clip": clip_features}, metrics, text_embedders={"clip": embed_texts}
    )
    one = EvaluationPass({"inception": inception}, metrics[:2])
    states = both.run(*read_folder(generated), prompts=[PROMPT.format(p.stem) for p in sorted(generated.glob("*.png"))])
    other = one.run(*read_folder(reference))
    found = {name: metric.compute(states[slot], other.get(slot)) for name, slot, metric in named(metrics)}
    score = inception_score(states["inception"].logits, num_splits=1)[0]
    return {"fid": found["fid"][0].interval.value, "is": score, "clip": found["clip"][0].interval.value}


def named(metrics):
    return zip(("fid", "is", "clip"), ("inception", "inception", "clip"), metrics, strict=True)


def read_folder(folder: Path) -> tuple[list[str], list[np.ndarray]]:
    """Keys and decoded pictures."""
    paths = sorted(folder.glob("*.png"))
    return [path.stem for path in paths], [
        np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB")) for path in paths
    ]


def check(mine: Numbers, peers: Numbers) -> str:
    differences = {name: abs(mine[name] - peers[name]) for name in peers}
    assert mine["fid"] > 0.1 and mine["is"] > 1.001, mine  # drawn weights that see no picture would agree on nothing
    assert differences["fid"] <= 1e-3 and differences["is"] <= 1e-3 and differences["clip"] <= 1e-2, (mine, peers)
    return ", ".join(f"{name} off by {difference:.1e}" for name, difference in differences.items())


def measure(full: bool) -> list[BenchmarkRow]:
    """24 generated and 24 reference pictures of 256 px, 500 of each with `full`."""
    torch.set_num_threads(THREADS)
    count = 500 if full else 24
    with tempfile.TemporaryDirectory(prefix="bench-evaluation-") as name:
        folder = Path(name)
        pickled, plain = write_inception(folder)
        sides = write_pictures(folder / "generated", count, 0), write_pictures(folder / "reference", count, 1)
        clip = load_clip()
        return [
            compare(
                9,
                f"{count} + {count} pictures of {SIDE_PX} px",
                PEER,
                ours=functools.partial(ours, *sides, plain, clip),
                theirs=functools.partial(theirs, *sides, pickled, clip),
                check=check,
                target=3.0,
            )
        ]
