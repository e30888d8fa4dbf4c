"""The platform on one machine: a Ray head and Airflow standalone under one folder, on loopback, with tokens.

Every process we start carries ``PANGU_PLATFORM=<home>`` in its environment, so that stopping finds ours and only ours,
also after a crash of whoever started them.
"""

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ray_jobs.errors import PlatformError
from ray_jobs.own_processes import MARK, own_processes, send_signal
from ray_jobs.store import OPTIONS_VARIABLE, STORE_VARIABLE, Store

REPOSITORY = Path(__file__).resolve().parent.parent
LOGICAL_CPUS = 4
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's own switch, read on import, for a node without other machines: what it shows of itself is on loopback too."""


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the platform."""

    airflow: int = 8080
    ray: int = 8265
    sample: int = 8321
    site: int = 8088


@dataclass(frozen=True)
class LocalPlatform:
    """Where the platform lives and how to reach it."""

    home: Path
    store: Store
    ports: Ports
    preset: str = "sample"

    @property
    def ray_address(self) -> str:
        """The Jobs API."""
        return f"http://127.0.0.1:{self.ports.ray}"

    @property
    def airflow_address(self) -> str:
        """The Airflow UI and REST API."""
        return f"http://127.0.0.1:{self.ports.airflow}"

    @property
    def token_file(self) -> Path:
        """Ray's token, readable by this user alone."""
        return self.home / "ray" / "token"

    @property
    def airflow_home(self) -> Path:
        """Airflow's own folder."""
        return self.home / "airflow"

    def environment(self) -> dict[str, str]:
        """What every process of the platform gets."""
        return {
            **os.environ,
            MARK: str(self.home),
            STORE_VARIABLE: self.store.uri,
            OPTIONS_VARIABLE: json.dumps(self.store.options),
            "PANGU_PRESET": self.preset,
            "RAY_API_SERVER_ADDRESS": self.ray_address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_enable_metrics_collection": "false",  # its port would be open to every machine, without a token
            "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        }

    def airflow_environment(self) -> dict[str, str]:
        """Airflow's settings: loopback, our DAGs, SQLite, two tasks at a time."""
        return {
            **self.environment(),
            "AIRFLOW_HOME": str(self.airflow_home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "infra" / "airflow" / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_address}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.ports.airflow),
            "AIRFLOW__API__BASE_URL": self.airflow_address,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.airflow_home}/airflow.db",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }

    def start(self, say: Callable[[str], None]) -> None:
        """Start what is not running yet and wait until it answers. PlatformError says what is in the way."""
        self.home.mkdir(parents=True, exist_ok=True)
        write_token(self.token_file)
        for name, port, alive, start in (
            ("ray", self.ports.ray, self.ray_answers, self._start_ray),
            ("airflow", self.ports.airflow, self.airflow_answers, self._start_airflow),
        ):
            if self.is_running(name) and alive():
                continue
            self.stop(name)
            refuse_occupied(port, name)
            say(f"starting {name}")
            start()
        self._wait("ray", self.ray_answers, timeout_s=180)
        self._wait("airflow", self.airflow_answers, timeout_s=480)

    @property
    def site_address(self) -> str:
        """The newest dashboard, and ``/metrics`` for Prometheus."""
        return f"http://127.0.0.1:{self.ports.site}"

    def start_site(self, say: Callable[[str], None]) -> None:
        """Serve the newest dashboard on loopback, unless that is already done."""
        if self.is_running("site") and self.site_answers():
            return
        self.stop("site")
        refuse_occupied(self.ports.site, "site")
        say("starting site")
        command = [sys.executable, "-m", "ray_jobs.site_server", "--port", str(self.ports.site)]
        self.spawn("site", command, self.environment())
        self._wait("site", self.site_answers, timeout_s=60)

    def site_answers(self) -> bool:
        """Whether the site's server answers, be there a site or none yet."""
        return http_status(f"{self.site_address}/index.html", {}) in (200, 404)

    def stop(self, name: str | None = None) -> int:
        """Stop one component, or all of the platform's processes; how many there were."""
        found = [process for process, component in own_processes(self.home).items() if name in (None, component)]
        for process in found:
            send_signal(process, signal.SIGTERM)
        _, alive = psutil.wait_procs(found, timeout=5)
        for process in alive:
            send_signal(process, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=10)
        return len(found)

    def is_running(self, name: str) -> bool:
        """Whether any process of a component lives."""
        return name in own_processes(self.home).values()

    def spawn(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Start a component in a session of its own, its output in ``logs/<name>.log``; it outlives this process."""
        logs = self.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**environment, "PANGU_COMPONENT": name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.home,
            )
        with (self.home / "sessions.txt").open("a") as sessions:
            sessions.write(f"{process.pid} {name}\n")
        process.returncode = 0  # nobody waits for it here: `stop` finds it by its session

    def ray_answers(self) -> bool:
        """Whether the Jobs API answers to our token."""
        if not self.token_file.exists():
            return False
        token = self.token_file.read_text().strip()
        return http_status(f"{self.ray_address}/api/jobs/", {"Authorization": f"Bearer {token}"}) == 200

    def airflow_answers(self) -> bool:
        """Whether Airflow's API server, scheduler, triggerer and DAG processor are healthy."""
        try:
            with urllib.request.urlopen(f"{self.airflow_address}/api/v2/monitor/health", timeout=3) as reply:
                health = json.load(reply)
        except (OSError, ValueError):
            return False
        wanted = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all((health.get(part) or {}).get("status") == "healthy" for part in wanted)

    def write_state(self) -> None:
        """Remember how this platform was started, for `read_state`."""
        state = {
            "store": self.store.uri,
            "options": self.store.options,
            "ports": asdict(self.ports),
            "preset": self.preset,
        }
        (self.home / "platform.json").write_text(json.dumps(state, indent=1))

    @classmethod
    def read_state(cls, home: Path) -> "LocalPlatform":
        """The platform last started under a folder. PlatformError if there was none."""
        try:
            state = json.loads((home / "platform.json").read_text())
        except FileNotFoundError:
            raise PlatformError(f"no platform was started in {home}; start one with: pangu up") from None
        return cls(home, Store(state["store"], state["options"]), Ports(**state["ports"]), state["preset"])

    @property
    def ray_folder(self) -> Path:
        """Ray's sessions: a folder of our own, so that no job joins another Ray of this host; short, for its sockets."""
        return Path(tempfile.gettempdir()) / f"pangu-ray-{hashlib.sha256(str(self.home).encode()).hexdigest()[:10]}"

    def _start_ray(self) -> None:
        shutil.rmtree(self.ray_folder, ignore_errors=True)
        command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--disable-usage-stats"]
        command += [
            "--node-ip-address=127.0.0.1",
            "--no-monitor",
            f"--port={free_port()}",
            f"--num-cpus={LOGICAL_CPUS}",
        ]
        command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={self.ports.ray}", "--include-dashboard=true"]
        command += [f"--temp-dir={self.ray_folder}"]
        command += ["--min-worker-port=0", "--max-worker-port=0", f"--ray-client-server-port={free_port()}"]
        command += [f"--object-store-memory={1 * 2**30}", f"--dashboard-agent-listen-port={free_port()}"]
        environment = {**self.environment(), **ON_LOOPBACK, "RAY_JOB_STOP_WAIT_TIME_S": "20"}
        environment.pop("RAY_ADDRESS", None)
        self.spawn("ray", command, environment)

    def _start_airflow(self) -> None:
        self.airflow_home.mkdir(parents=True, exist_ok=True)
        command = [str(Path(sys.executable).parent / "airflow"), "standalone"]
        self.spawn("airflow", command, self.airflow_environment())

    def _wait(self, name: str, alive: Callable[[], bool], timeout_s: float) -> None:
        ends = time.monotonic() + timeout_s
        while not alive():
            if time.monotonic() > ends or not self.is_running(name):
                log = self.home / "logs" / f"{name}.log"
                raise PlatformError(f"{name} did not come up within {timeout_s:.0f} s; its log is {log}")
            time.sleep(0.5)


def write_token(file: Path) -> Path:
    """The file with Ray's token, readable by this user alone, made if it is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
    return file


def refuse_occupied(port: int, name: str) -> None:
    """PlatformError when something else listens on a port we need."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise PlatformError(
                f"port {port} on 127.0.0.1, wanted for {name}, is taken by another program; "
                f"stop it or choose another with --{name}-port"
            ) from None


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def http_status(url: str, headers: dict[str, str]) -> int:
    """The status a GET answers with; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=3) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
