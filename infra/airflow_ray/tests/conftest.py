"""Fixtures: one Ray head and one Airflow for the whole session, started when a test first asks."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def ray_head():
    from ray_head import running_ray_head

    with running_ray_head() as head:
        yield head


@pytest.fixture(scope="session")
def airflow_home(ray_head, tmp_path_factory):
    from airflow_home import running_airflow

    extra_env = {
        **ray_head.env,
        # The triggerer does not put DAG folders on sys.path.
        "PYTHONPATH": str(HERE / "support"),
        "KILL_MARKERS": str(tmp_path_factory.mktemp("markers")),
    }
    with running_airflow(HERE / "dags", extra_env) as home:
        home.wait_for_dag("consumes")
        yield home
