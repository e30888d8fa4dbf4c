"""Small real models: a CLIP folder with random weights and a trained tokenizer, and a pipeline of two random experts."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pangu.bucket_conditioning import BucketSize, bucket_sizes
from pangu.checkpoint import ExpertIdentity
from pangu.denoiser import Conditioning
from pangu.networks import build_sample_autoencoder, build_unet
from pangu.noise_schedule import NoiseSchedule
from pangu.pipeline import ExpertsCard, PanGuDrawPipeline
from pangu.text_encoder import ClipTextEncoder, open_clip
from pangu.time_range import Role, TimeSplit

CORPUS = [
    "a red ball left of a blue star",
    "green square on a white ground",
    "红色的球在蓝色的星星左边",
    "义 饕 a picture",
]
STRUCTURE = [
    (32, 128),
    (32, 112),
    (48, 96),
    (48, 80),
    (56, 72),
    (64, 64),
    (72, 56),
    (80, 48),
    (96, 48),
    (112, 32),
    (128, 32),
]
TEXTURE = [(16, 64), (16, 56), (24, 48), (24, 40), (32, 40), (32, 32), (40, 32), (40, 24), (48, 24), (56, 16), (64, 16)]
PREFIXES = {"aesthetic": "义 ", "cartoon": "饕 "}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def buckets() -> tuple[BucketSize, ...]:
    rows = zip(STRUCTURE, TEXTURE, strict=True)
    return bucket_sizes([{"index": i, "structure": list(s), "texture": list(t)} for i, (s, t) in enumerate(rows)])


def write_tokenizer(folder: Path, context: int) -> int:
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<start>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<end>"])
    start, end = tokenizer.token_to_id("<start>"), tokenizer.token_to_id("<end>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", start), ("<end>", end)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<start>", eos_token="<end>", model_max_length=context
    ).save_pretrained(folder)
    return tokenizer.get_vocab_size()


@pytest.fixture(scope="session")
def scorer_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scorer")
    vocabulary = write_tokenizer(folder, 40)
    text = {"context_length": 40, "vocab_size": vocabulary, "width": 32, "heads": 2, "layers": 3}
    text["hf_tokenizer_name"] = "local"
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    config = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {**config, "custom_text": True}}), encoding="utf-8"
    )
    torch.manual_seed(0)
    clip = open_clip.CustomTextCLIP(**config)
    weights = {name: value.contiguous() for name, value in clip.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def text_encoder(scorer_folder) -> ClipTextEncoder:
    return ClipTextEncoder.from_scorer(scorer_folder)


def make_unet(seed: int):
    torch.manual_seed(seed)
    return build_unet(
        "sample",
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        cross_attention_dim=32,
        projection_class_embeddings_input_dim=48 + 256,
    )


def make_identities(buckets, split: TimeSplit | None = None):
    split = split or TimeSplit()
    return {
        role: ExpertIdentity(role=role, time_range=split.range_of(role), buckets=buckets)
        for role in (Role.STRUCTURE, Role.TEXTURE)
    }


@pytest.fixture
def pipeline(text_encoder, buckets) -> PanGuDrawPipeline:
    torch.manual_seed(1)
    vae = build_sample_autoencoder(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    ).eval()
    identities = make_identities(buckets)
    card = ExpertsCard(
        structure=identities[Role.STRUCTURE], texture=identities[Role.TEXTURE], prefixes=PREFIXES, training={"steps": 3}
    )
    modules = {
        "structure": make_unet(2).eval(),
        "texture": make_unet(3).eval(),
        "vae": vae,
        "text_encoder": copy.deepcopy(text_encoder),
    }
    return PanGuDrawPipeline.build(modules, card)


class GaussianDenoiser:
    """The exact denoiser of data drawn from N(mean, spread^2): E[x0 | x_t], mean chosen by the first token's value.

    With a = sqrt(abar), s^2 = 1 - abar: mean + a spread^2 (x_t - a mean) / (a^2 spread^2 + s^2).
    """

    def __init__(self, schedule, spread: float) -> None:
        self.schedule = schedule
        self.spread = spread
        self.num_rows = 0

    def __call__(self, x_t, t, conditioning):
        self.num_rows += len(x_t)
        mean = conditioning.tokens[:, 0, 0].to(x_t).reshape(-1, *[1] * (x_t.dim() - 1))
        abar = self.schedule.abar_at(t).item()
        gain = abar**0.5 * self.spread**2 / (abar * self.spread**2 + 1 - abar)
        return mean + gain * (x_t - abar**0.5 * mean)

    def exact_flow(self, x_t, t, mean):
        """Where the probability flow carries x_t: each marginal is N(a mean, a^2 spread^2 + s^2)."""
        abar = self.schedule.abar_at(t).item()
        standard = (x_t - abar**0.5 * mean) / (abar * self.spread**2 + 1 - abar) ** 0.5
        return mean + self.spread * standard


@pytest.fixture
def gaussian():
    return GaussianDenoiser(NoiseSchedule(), 0.7)


def conditioning_of(*means: float) -> Conditioning:
    tokens = torch.tensor(means, dtype=torch.float64).reshape(-1, 1, 1)
    return Conditioning(tokens, torch.zeros(len(means), 1), torch.zeros(len(means), dtype=torch.int64))


@pytest.fixture
def mean_conditioning():
    return conditioning_of


@pytest.fixture
def unet_of_seed():
    return make_unet


@pytest.fixture
def identities(buckets):
    return make_identities(buckets)


@pytest.fixture(scope="session")
def write_clip_tokenizer():
    return write_tokenizer
