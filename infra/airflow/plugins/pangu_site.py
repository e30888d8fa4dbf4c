"""Airflow loads what stands in its plugins folder: the evaluation site in its navigation."""

from ray_jobs.airflow_site import PanguSite

__all__ = ["PanguSite"]
