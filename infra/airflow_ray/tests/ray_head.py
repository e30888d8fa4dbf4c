"""A real Ray head for tests: loopback, token, four logical CPUs, its own folder, its own process group."""

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from processes import ProcessGroup, free_port, wait_until

STOP_WAIT_S = 20


class RayHead:
    """The head's address, token and what its Jobs API says; `env` is what clients need."""

    def __init__(self, folder: Path, *, num_cpus: int = 4) -> None:
        self.folder = folder
        self.token = secrets.token_hex(32)
        self.token_path = folder / "token"
        self.token_path.write_text(self.token)
        self.token_path.chmod(0o600)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.env = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
            "RAY_API_SERVER_ADDRESS": self.address,
        }
        self._num_cpus = num_cpus
        self._group: ProcessGroup | None = None

    def start(self) -> None:
        ray = Path(sys.executable).with_name("ray")
        command = [
            str(ray), "start", "--head", "--block", "--disable-usage-stats",
            "--node-ip-address=127.0.0.1", f"--port={free_port()}", f"--num-cpus={self._num_cpus}",
            "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={self.port}",
            f"--dashboard-agent-listen-port={free_port()}", f"--ray-client-server-port={free_port()}",
            f"--temp-dir={self.folder / 't'}", "--object-store-memory=100000000",
        ]  # fmt: skip
        env = {
            **os.environ,
            **self.env,
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "OMP_NUM_THREADS": "1",
        }
        env.pop("RAY_ADDRESS", None)
        self._group = ProcessGroup(command, env=env, log_path=self.folder / "ray.log", cwd=self.folder)
        try:
            wait_until(self._answers, 60, "the Ray dashboard answers")
        except TimeoutError as error:
            raise RuntimeError(self._group.log_tail()) from error

    def stop(self) -> None:
        if self._group:
            # Nothing in it is worth a graceful end.
            self._group.kill()

    def request(self, method: str, path: str, body: dict | None = None, token: str | None = None):
        """Return the parsed answer; raise urllib.error.HTTPError for any refusal."""
        request = urllib.request.Request(
            self.address + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def jobs(self, contains: str = "", run_id: str | None = None) -> dict[str, dict]:
        """Return submitted jobs by id: those whose id contains the text, and which that DAG run submitted."""
        found = {job["submission_id"]: job for job in self.request("GET", "/api/jobs/") if job["submission_id"]}
        return {
            name: job
            for name, job in found.items()
            if contains in name and (run_id is None or (job["metadata"] or {}).get("airflow_run_id") == run_id)
        }

    def status(self, submission_id: str) -> str:
        return self.request("GET", f"/api/jobs/{submission_id}")["status"]

    def logs(self, submission_id: str) -> str:
        return self.request("GET", f"/api/jobs/{submission_id}/logs")["logs"]

    def live_actors(self, name_contains: str = "") -> list[dict]:
        """Return actors that are not DEAD and whose name contains the text, as Ray's state API lists them."""
        answer = self.request("GET", "/api/v0/actors?detail=1&limit=1000")
        rows = answer["data"]["result"]["result"]
        return [row for row in rows if row["state"] != "DEAD" and name_contains in (row["name"] or "")]

    def wait_for_status(self, submission_id: str, statuses: set[str], timeout_s: float) -> float:
        """Return the seconds until the job was in one of the states."""
        start = time.monotonic()
        wait_until(lambda: self.status(submission_id) in statuses, timeout_s, f"{submission_id} in {statuses}")
        return time.monotonic() - start

    def _answers(self) -> bool:
        assert self._group is not None
        if not self._group.is_running():
            raise RuntimeError(self._group.log_tail())
        try:
            self.request("GET", "/api/jobs/")
        except (urllib.error.URLError, OSError):
            return False
        return True


@contextmanager
def running_ray_head(*, num_cpus: int = 4):
    """Start a head and end it, whatever happens."""
    # Not under pytest's folders: Ray's socket paths must stay below 107 characters.
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        head = RayHead(Path(folder), num_cpus=num_cpus)
        try:
            head.start()
            yield head
        finally:
            head.stop()


def smoke() -> int:
    """Start a head, run one job; for trying the fixture by hand."""
    with running_ray_head() as head:
        head.request("POST", "/api/jobs/", {"entrypoint": "echo hello", "submission_id": "smoke"})
        head.wait_for_status("smoke", {"SUCCEEDED"}, 60)
        return subprocess.call(["true"])
