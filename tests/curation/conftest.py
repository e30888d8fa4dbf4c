import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from curation.torchvision_ops import declare_missing_ops

torch.set_num_threads(1)


def _make_picture(seed: int, size: tuple[int, int] = (96, 72), mode: str = "RGB") -> Image.Image:
    """A smooth picture of (width, height): coarse noise enlarged, so that JPEG and resizing keep it."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC).convert(mode)


def _encode(image: Image.Image, name: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


@dataclass
class Reply:
    """What the site answers under one path."""

    body: bytes = b""
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=lambda: [("Content-Type", "image/png")])
    announced: int | None = None
    drip_s: float = 0.0
    fail_first: int = 0


@dataclass
class Site:
    """A real HTTP server on loopback; `hits` lists the paths asked for."""

    port: int
    replies: dict[str, Reply]
    hits: list[str]

    @property
    def host_port(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.host_port}{path}"

    def serve(self, path: str, body: bytes, **options: object) -> str:
        self.replies[path] = Reply(body, **options)
        return self.url(path)


def _handler(replies: dict[str, Reply], hits: list[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hits.append(self.path)
            reply = replies.get(self.path, Reply(status=404))
            if reply.fail_first > 0:
                reply.fail_first -= 1
                reply = Reply(status=503)
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(reply.announced if reply.announced is not None else len(reply.body)))
            self.end_headers()
            self.close_connection = True
            try:
                if reply.drip_s:
                    for byte in reply.body:
                        self.wfile.write(bytes([byte]))
                        time.sleep(reply.drip_s)
                else:
                    self.wfile.write(reply.body)
            except OSError:
                pass  # the client hung up, as it may

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., Image.Image]:
    return _make_picture


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    return _encode


@pytest.fixture
def make_site() -> Iterator[Callable[[], Site]]:
    servers = []

    def start() -> Site:
        replies: dict[str, Reply] = {}
        hits: list[str] = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(replies, hits))
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return Site(server.server_address[1], replies, hits)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(make_site: Callable[[], Site]) -> Site:
    return make_site()


TINY_CLIP = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 300,
            "hf_tokenizer_name": "local",
            "tokenizer_kwargs": {},
            "width": 32,
            "heads": 2,
            "layers": 2,
        },
        "custom_text": True,
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic"},
}
"""Random weights: they prove shapes, batching and bookkeeping, nothing about pictures."""


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    declare_missing_ops()
    from open_clip import CustomTextCLIP
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("clip")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(["<pad>", "<start>", *alphabet, "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[(name, vocab[name]) for name in ("<start>", "<end>")]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<start>", eos_token="<end>", pad_token="<pad>"
    ).save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
    config = json.loads(json.dumps(TINY_CLIP["model_cfg"]))
    config.pop("custom_text")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CustomTextCLIP(**config)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


@pytest.fixture(scope="session")
def scorer(clip_folder: Path):
    from curation.clip_scorer import ClipScorer

    return ClipScorer(clip_folder, batch_size=8)


@pytest.fixture(scope="session")
def heads(clip_folder: Path, scorer):
    from curation.aesthetic_scorer import AestheticScorer
    from curation.cartoon_classifier import CartoonClassifier
    from curation.linear_head import write_head

    generator = np.random.default_rng(1)
    for name in ("aesthetic", "cartoon"):
        layer = (generator.normal(size=(1, scorer.width)).astype(np.float32), np.zeros(1, np.float32))
        write_head(clip_folder / f"{name}_head.safetensors", [layer], scorer.fingerprint, f"tiny-{name}")
    return (
        AestheticScorer.load(clip_folder / "aesthetic_head.safetensors", scorer.fingerprint),
        CartoonClassifier.load(clip_folder / "cartoon_head.safetensors", scorer.fingerprint),
    )
