"""The newest dashboard over HTTP: the site's own files, their policy as a header too, and ``/metrics`` for Prometheus.

``python -m ray_jobs.site_server --port 8088`` serves it on loopback (`pangu up` starts it); Airflow mounts the same app
inside its UI behind its own login (`ray_jobs.airflow_site`). What is served is what the version's manifest lists.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import PurePosixPath

from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse

from ray_jobs.manifest import Manifest
from ray_jobs.store import Store
from ray_jobs.versions import Versions

METRICS_FILE = "metrics.prom"
POLICY = "default-src 'none'; img-src 'self' data:; style-src 'self'; base-uri 'none'; form-action 'none'"
_LOOK_EVERY_S = 5.0
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".webp": "image/webp",
    ".parquet": "application/vnd.apache.parquet",
    ".prom": "text/plain; version=0.0.4; charset=utf-8",
}


class NewestSite:
    """The files of the newest dashboard version; a new one is seen within seconds."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        """open_store: called with the first request, so that whoever mounts the app pays nothing before."""
        self._open_store = open_store
        self._store: Store | None = None
        self._version: Manifest | None = None
        self._looked = -_LOOK_EVERY_S

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, or None where the newest site has no such file or there is no site."""
        version = self._newest()
        if version is None or self._store is None or name not in {part.name for part in version.parts}:
            return None
        return self._store.read(f"{version.prefix}/{version.folder}/{name}")

    def _newest(self) -> Manifest | None:
        if self._store is None:
            self._store = self._open_store()
        if time.monotonic() - self._looked >= _LOOK_EVERY_S:
            self._version, self._looked = Versions(self._store).latest("dashboard"), time.monotonic()
        return self._version


def make_app(open_store: Callable[[], Store], *, frame_ancestors: str = "'none'") -> FastAPI:
    """The app; frame_ancestors: who may show it in a frame."""
    app = FastAPI(title="PanGu evaluation site", docs_url=None, redoc_url=None, openapi_url=None)
    site = NewestSite(open_store)
    headers = {
        "Content-Security-Policy": f"{POLICY}; frame-ancestors {frame_ancestors}",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }

    def serve(name: str) -> Response:
        data = site.read(name)
        if data is None:
            text = "There is no such page in the newest site, or no site yet: pangu run publish_dashboard\n"
            return Response(text, 404, headers | {"Content-Type": "text/plain; charset=utf-8"})
        kind = _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
        return Response(data, headers=headers | {"Content-Type": kind})

    @app.get("/")
    def first_page() -> Response:
        return RedirectResponse("index.html", headers=headers)

    @app.get("/metrics")
    def metrics() -> Response:
        return serve(METRICS_FILE)

    @app.get("/{name:path}")
    def file(name: str) -> Response:
        return serve(name)

    return app


def main() -> None:
    """Serve until told to stop."""
    import uvicorn
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8088)
    chosen = parser.parse_args()
    app = make_app(Store.from_environment)
    # A page elsewhere that a name server points here must not read the site.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    uvicorn.run(app, host="127.0.0.1", port=chosen.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
