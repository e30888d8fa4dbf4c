"""``pangu serve``: the generation service on this machine, a Ray of its own with it, until it is interrupted."""

import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ray_jobs.local_platform import ON_LOOPBACK

HOME = Path(".pangu")
SHUT_RAY = {**ON_LOOPBACK, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
"""What Ray reads when it is imported."""


def register(app: typer.Typer) -> None:
    """Add the command to ``pangu``."""
    app.command("serve")(serve_generation)


def serve_generation(
    experts: Annotated[
        str,
        typer.Option(
            help="experts, experts@champion, ..., or `sample` for the carried pair", envvar="PANGU_SERVE_EXPERTS"
        ),
    ] = "sample",
    members: Annotated[
        str, typer.Option(help="a member file, or `experts` for the pair alone", envvar="PANGU_SERVE_MEMBERS")
    ] = "experts",
    host: Annotated[str, typer.Option(help="where to listen; other machines' only with PANGU_API_KEYS")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or npu", envvar="PANGU_SERVE_DEVICE")] = "auto",
    home: Annotated[Path, typer.Option(help="the platform's folder", envvar="PANGU_HOME")] = HOME,
    store: Annotated[str | None, typer.Option(help="store of the artifacts; HOME/store by default")] = None,
) -> None:
    """Serve pictures over HTTP, with a page for people; Ctrl-C drains and stops."""
    os.environ |= SHUT_RAY
    from ray_jobs.serve_generation import KEYS_VARIABLE, refuse_open_door
    from ray_jobs.service.callers import Keyring

    refuse_open_door(host, Keyring.of_text(os.environ.get(KEYS_VARIABLE, "")))
    home = home.expanduser().absolute()
    if experts == "sample":
        store = str(home / "served-sample")  # a store of its own: nobody's newest experts
        experts = carried_pair(store)
    os.environ |= {
        "PANGU_STORE": store or os.environ.get("PANGU_STORE") or str(home / "store"),
        "PANGU_SERVE_EXPERTS": experts,
        "PANGU_SERVE_MEMBERS": str(Path(members).absolute()) if Path(members).is_file() else members,
        "PANGU_SERVE_DEVICE": device,
    }
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    run(host, port, home, stopped)


def carried_pair(uri: str) -> str:
    """The carried pair as a version of a store, made if it is not there; its reference."""
    from ray_jobs.claims import claim_version
    from ray_jobs.config_model import SAMPLE_MODELS, digest_of_path
    from ray_jobs.folder_versions import store_folder
    from ray_jobs.manifest import Manifest, digest_of_files
    from ray_jobs.store import Store
    from ray_jobs.versions import Versions

    versions = Versions(Store.from_environment(uri))
    key = digest_of_path(SAMPLE_MODELS / "experts")[:16]
    if versions.find("experts", key) is None:
        claim = claim_version(versions.store, f"experts/{key}")
        name, parts = store_folder(versions.store, f"experts/{key}", SAMPLE_MODELS / "experts")
        facts = {"job": "publish_experts", "code_version": 1, "config": {}, "inputs": {}}
        digest = digest_of_files(parts)
        manifest = Manifest(artifact="experts", key=key, digest=digest, folder=name, parts=parts, **facts)
        versions.commit(manifest, claim)
    return f"experts@{key}"


def run(host: str, port: int, home: Path, stopped: threading.Event) -> None:
    """Start Ray and Serve, serve, and wait for the event."""
    import ray
    from ray import serve

    from ray_jobs.local_platform import write_token
    from ray_jobs.serve_generation import app

    os.environ.setdefault(
        "RAY_enable_metrics_collection", "false"
    )  # its port is open to every machine, without a token
    os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(write_token(home / "ray" / "token")))
    console = Console()
    folder = tempfile.mkdtemp(prefix="pangu-serve-ray-")
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    try:
        serve.start(http_options={"host": host, "port": port, "request_timeout_s": 180})
        console.print("loading the models")
        serve.run(app({}), name="generation")
        console.print(f"page:  http://{host}:{port}/\nAPI:   http://{host}:{port}/v1 (Ctrl-C stops)")
        stopped.wait()
        console.print("draining")
        serve.shutdown()
    finally:
        ray.shutdown()
