"""The site inside the Airflow UI: an entry of its navigation that frames the same pages, behind Airflow's own login."""

from airflow.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI

from ray_jobs.site_server import make_app
from ray_jobs.store import Store

PREFIX = "/pangu-site"


def mounted_app() -> FastAPI:
    """The site for whoever is logged in to Airflow: it mounts a plugin's app without a check of its own."""
    from airflow.api_fastapi.core_api.security import get_user

    guarded = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])
    pages = make_app(Store.from_environment, frame_ancestors="'self'")
    guarded.include_router(pages.router)
    return guarded


class PanguSite(AirflowPlugin):
    """Mounts the site under its prefix and adds it to the navigation."""

    name = "pangu_site"
    fastapi_apps = [{"app": mounted_app(), "url_prefix": PREFIX, "name": "PanGu evaluation site"}]  # noqa: RUF012 Airflow's own class attributes
    external_views = [  # noqa: RUF012
        {
            "name": "Evaluation",
            "href": f"{PREFIX}/index.html",
            "destination": "nav",
            "url_route": "pangu_site",
            "nav_top_level": True,
        }
    ]
