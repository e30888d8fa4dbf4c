"""The button "Ray job" on a task in Airflow's UI."""

from airflow.sdk import BaseOperatorLink


class RayJobLink(BaseOperatorLink):
    """Leads to the job's page on the Ray dashboard."""

    name = "Ray job"

    def get_link(self, operator: object, *, ti_key: object) -> str:
        """Return the page's URL; empty where this process has followed no job."""
        return str(getattr(operator, "job_url", ""))
