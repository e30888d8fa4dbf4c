"""``pangu demo | up | down``: the platform on one machine."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ray_jobs.config import load_preset
from ray_jobs.local_platform import LocalPlatform, Ports
from ray_jobs.store import Store

HomeOption = Annotated[Path, typer.Option("--home", help="the platform's folder", envvar="PANGU_HOME")]
StoreOption = Annotated[str | None, typer.Option("--store", help="store of the artifacts; HOME/store by default")]
AirflowPort = Annotated[int, typer.Option("--airflow-port", min=1, max=65535)]
RayPort = Annotated[int, typer.Option("--ray-port", min=1, max=65535, help="of Ray's dashboard and Jobs API")]
SamplePort = Annotated[int, typer.Option("--sample-port", min=1, max=65535, help="of the sample's picture server")]
SitePort = Annotated[int, typer.Option("--site-port", min=1, max=65535, help="of the evaluation site and its /metrics")]
HOME = Path(".pangu")


def register(app: typer.Typer) -> None:
    """Add the commands to ``pangu``."""
    app.command()(demo)
    app.command()(up)
    app.command()(down)


def make_platform(home: Path, store: str | None, preset: str, ports: Ports) -> LocalPlatform:
    """The platform of a folder; the preset and the store are checked before anything is started."""
    load_preset(preset)
    home = home.expanduser().absolute()
    opened = Store.from_environment(store or os.environ.get("PANGU_STORE") or str(home / "store"))
    opened.probe()
    home.mkdir(parents=True, exist_ok=True)
    return LocalPlatform(home, opened, ports, preset)


def demo(
    url_list: Annotated[
        Path | None, typer.Option(help="your own list instead of the sample's", envvar="URL_LIST")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="host:port that may be fetched although not public")
    ] = None,
    preset: Annotated[str, typer.Option(help="a preset's name or a TOML file")] = "sample",
    home: HomeOption = HOME,
    store: StoreOption = None,
    airflow_port: AirflowPort = Ports.airflow,
    ray_port: RayPort = Ports.ray,
    sample_port: SamplePort = Ports.sample,
    keep: Annotated[bool, typer.Option("--keep", help="leave Airflow and Ray running")] = False,
) -> None:
    """Rebuild, train, generate, evaluate and publish through Airflow and Ray; ends with a table and a site."""
    from ray_jobs.demo import Demo, prepare_sample, write_demo_preset

    if url_list is not None and not url_list.is_file():
        raise ValueError(f"url-list: {url_list} is not a file; accepted are csv, tsv, jsonl, parquet and txt")
    platform = make_platform(home, store, preset, Ports(airflow_port, ray_port, sample_port))
    shown = Demo(platform, Console())
    hosts = allow_host or [host for host in os.environ.get("ALLOW_HOSTS", "").split(",") if host]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if url_list is None:
            url_list, hosts = prepare_sample(platform, shown.say), [f"127.0.0.1:{sample_port}"]
        tailored = write_demo_preset(platform, preset, url_list.absolute(), hosts)
        shown.platform = LocalPlatform(platform.home, platform.store, platform.ports, str(tailored))
        shown.platform.write_state()
        shown.run()
    finally:
        if not keep:
            platform.stop()
    if keep:
        shown.console.print(f"Airflow: {platform.airflow_address} (pangu down stops it)")


def up(
    preset: Annotated[str, typer.Option(help="a preset's name or a TOML file")] = "sample",
    home: HomeOption = HOME,
    store: StoreOption = None,
    airflow_port: AirflowPort = Ports.airflow,
    ray_port: RayPort = Ports.ray,
    site_port: SitePort = Ports.site,
) -> None:
    """Start Airflow, Ray and the evaluation site on loopback and leave them running."""
    console = Console()
    started = time.monotonic()
    demo_preset = home.expanduser().absolute() / "demo.toml"
    chosen = str(demo_preset) if preset == "sample" and demo_preset.exists() else preset
    platform = make_platform(home, store, chosen, Ports(airflow_port, ray_port, site=site_port))
    platform.write_state()
    platform.start(console.print)
    platform.start_site(console.print)
    console.print(f"up after {time.monotonic() - started:.0f} s")
    console.print(f"Airflow: {platform.airflow_address}, user admin, password in {platform.airflow_home}")
    console.print(f"Ray:     {platform.ray_address}, token in {platform.token_file}")
    console.print(f"site:    {platform.site_address} (Prometheus: /metrics), and in Airflow under Evaluation")
    console.print(f"store:   {platform.store.uri}")


def down(home: HomeOption = HOME) -> None:
    """Stop everything that the platform started."""
    platform = LocalPlatform.read_state(home.expanduser().absolute())
    stopped = platform.stop()
    Console().print(f"stopped {stopped} processes")
