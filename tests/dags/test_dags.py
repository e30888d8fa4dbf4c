"""The DAG contract: parsed by Airflow's own DagBag in a process without network, where every forbidden thing is counted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ray_jobs.artifacts import JOBS, artifact_of
from ray_jobs.job_configs import CONFIGS
from ray_jobs.trigger_form import GIVEN_BY_THE_RUN

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEDULED_BY = {
    "rebuild_dataset": set(),
    "train_experts": {"training_set"},
    "generate_images": {"experts"},
    "evaluate_nightly": {"generated_images"},
    "sweep_styles": set(),
    "train_enhancer": set(),
}
LAST_GIVES = {
    "rebuild_dataset": "training_set",
    "train_experts": "experts",
    "generate_images": "generated_images",
    "evaluate_nightly": "dashboard",
    "sweep_styles": "style_sweep",
    "train_enhancer": "enhancer",
}
HEAVY = ("torch", "ray", "pyarrow", "diffusers", "transformers", "open_clip", "img2dataset", "pandas", "s3fs")
MOST_SECONDS = 2.0
"""Of processor time: a busy machine is no fault of the file."""

PARSE = """
import json, socket, sys, time
from pathlib import Path

CALLS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")

def refuse(event, arguments):
    opens = event == "socket.__new__" and arguments[1] in (socket.AF_INET, socket.AF_INET6)
    if opens or event in CALLS:
        refused.append(f"{event} {arguments[1:]}")
        raise PermissionError(f"parsing may not use the network: {event}")

def field(value):
    return None if value is None else value.total_seconds()

def assets_of(condition):
    parts = getattr(condition, "objects", None)
    return [condition.name] if parts is None else sorted(name for part in parts for name in assets_of(part))

def scheduling_assets(timetable):
    condition = getattr(timetable, "asset_condition", None)
    return assets_of(condition) if condition is not None else []

import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
DagBag("/nowhere", collect_dags=False)
brought_by_airflow = set(sys.modules)
refused = []
sys.addaudithook(refuse)
folder, found = sys.argv[1], {}
for path in sorted(Path(folder).glob("*.py")):
    started = time.process_time()
    bag = DagBag(str(path), safe_mode=False)
    seconds = time.process_time() - started
    found[path.stem] = {"seconds": seconds, "errors": bag.import_errors, "dags": {}}
    for name, dag in bag.dags.items():
        tasks = {
            task.task_id: {
                "retries": task.retries,
                "timeout_s": field(task.execution_timeout),
                "owner": task.owner,
                "pool": task.pool,
                "gives": [asset.name for asset in task.outlets],
                "after": sorted(task.upstream_task_ids),
                "doc": task.doc_md,
                "job": getattr(task, "job", None),
                "inputs": getattr(task, "job_inputs", {}),
            }
            for task in dag.tasks
        }
        found[path.stem]["dags"][name] = {
            "tasks": tasks,
            "assets": scheduling_assets(dag.timetable),
            "cron": getattr(getattr(dag.timetable, "timetable", dag.timetable), "expression", None),
            "params": {key: dag.params.get_param(key).schema for key in dag.params},
            "values": {key: dag.params[key] for key in dag.params},
            "help": {key: dag.params.get_param(key).description for key in dag.params},
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "doc": dag.doc_md,
        }
modules = sorted(set(sys.modules) - brought_by_airflow)
print("PARSED" + json.dumps({"files": found, "refused": refused, "modules": modules}))
"""


def parse(tmp_path_factory, folder=REPOSITORY / "dags", **environment):
    home = tmp_path_factory.mktemp("airflow")
    result = subprocess.run(
        [sys.executable, "-c", PARSE, str(folder)],
        env={
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            **environment,
        },
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.rsplit("PARSED", 1)[1])


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    return parse(tmp_path_factory)


@pytest.fixture(scope="module")
def dags(parsed):
    return {name: dag for file in parsed["files"].values() for name, dag in file["dags"].items()}


pytestmark = pytest.mark.reliability(11)


def test_every_file_parses_quickly_without_an_error_or_a_socket(parsed):
    files = {path.stem for path in (REPOSITORY / "dags").glob("*.py")}
    assert set(parsed["files"]) == files
    for name, file in parsed["files"].items():
        assert file["errors"] == {}, name
        assert file["seconds"] < MOST_SECONDS, (name, file["seconds"])
        assert name == "__init__" or list(file["dags"]) == [name], "one DAG a file, named like it"
    assert parsed["refused"] == []


def test_parsing_brings_in_nothing_heavy(parsed):
    brought = {module.partition(".")[0] for module in parsed["modules"]}
    assert "ray_jobs" in brought
    assert brought.isdisjoint(HEAVY)


def test_a_dag_that_opens_a_socket_is_caught(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    (folder / "calls_home.py").write_text("import socket\nsocket.create_connection(('127.0.0.1', 9), 1)\n")
    found = parse(tmp_path_factory, folder)
    assert "may not use the network" in str(found["files"]["calls_home"]["errors"]) and found["refused"]


def test_every_task_has_what_airflow_leaves_open(dags):
    tasks = [(name, task) for dag in dags.values() for name, task in dag["tasks"].items()]
    assert len(tasks) >= 11
    for name, task in tasks:
        assert task["retries"] >= 2, name
        assert task["timeout_s"] and 0 < task["timeout_s"] <= 24 * 3600, name
        assert task["owner"] not in ("", "airflow"), name
        assert task["pool"] and task["doc"], name


def test_no_dag_overtakes_itself_or_runs_for_the_past(dags):
    for name, dag in dags.items():
        assert dag["max_active_runs"] == 1 and dag["catchup"] is False and dag["doc"], name


def test_assets_join_the_dags(dags):
    assert {name: set(dag["assets"]) for name, dag in dags.items()} == SCHEDULED_BY
    makers = {}
    for name, artifact in LAST_GIVES.items():
        jobs = {task: found for task, found in dags[name]["tasks"].items() if found["job"]}
        last = set(jobs) - {task for other in jobs.values() for task in other["after"]}
        assert len(last) == 1
        assert jobs[last.pop()]["gives"] == [artifact]
        for task in jobs.values():
            for given in task["gives"]:
                assert makers.setdefault(given, name) == name, "an artifact's event has one source"
    for name, wanted in SCHEDULED_BY.items():
        for artifact in wanted:
            assert makers[artifact] != name, "a DAG does not start itself"


def test_tasks_run_after_what_makes_their_inputs(dags):
    for dag in dags.values():
        maker = {}
        for name, task in dag["tasks"].items():
            if task["job"]:
                assert task["gives"] in ([JOBS[task["job"]].gives], [])
                maker.setdefault(JOBS[task["job"]].gives, name)
        for name, task in dag["tasks"].items():
            if task["job"] is None:
                continue
            before, frontier = set(), list(task["after"])
            while frontier:
                upstream = frontier.pop()
                before.add(upstream)
                frontier += dag["tasks"][upstream]["after"]
            job = JOBS[task["job"]]
            optional = [each for each in job.optional if ":" not in each]  # such as a champion: it stands already
            names = (*job.takes, *optional, *([job.collects] if job.collects else []))
            given = {each: where for each, where in task["inputs"].items() if not where.startswith("@")}
            assert set(task["inputs"]) <= {*names, *job.optional}, name
            wanted = {maker[artifact_of(each)] for each in names if artifact_of(each) in maker and each not in given}
            assert wanted | set(given.values()) <= before, name


def test_a_night_is_run_for_both_models_with_exact_versions(dags):
    tasks = dags["evaluate_nightly"]["tasks"]
    for model in ("champion", "candidate"):
        assert tasks[f"generate_{model}"]["inputs"] == {"prompts": "register_prompts", "experts": f"@{model}"}
        assert tasks[f"evaluate_{model}"]["inputs"] == {"generated_images": f"generate_{model}"}
        assert tasks["compare_models"]["inputs"][f"{model}:metrics"] == f"evaluate_{model}"


def test_every_setting_of_every_job_is_a_field_of_the_trigger_form(dags):
    scheduled = set()
    for dag in dags.values():
        jobs = {task["job"] for task in dag["tasks"].values() if task["job"]}
        scheduled |= jobs
        fields = {f"{job}.{name}" for job in jobs for name in CONFIGS[job].model_fields if name not in GIVEN_BY_THE_RUN}
        assert set(dag["params"]) == fields
    by_hand = {"train_shared", "register_pictures"}
    assert scheduled == set(JOBS) - by_hand, "the sample branches from the base; others' pictures come from a user"


def test_a_field_has_its_type_its_choices_its_description_and_the_presets_value(dags):
    dag = dags["generate_images"]
    form, values = dag["params"], dag["values"]
    assert form["generate_images.steps"]["type"] == "integer" and values["generate_images.steps"] == 30
    assert (form["generate_images.steps"]["minimum"], form["generate_images.steps"]["maximum"]) == (1, 1000)
    sampler = form["generate_images.sampler"]
    assert sampler["enum"] == ["ddim", "euler", "dpm_solver++", "unipc", None] and sampler["type"] == ["string", "null"]
    assert dag["help"]["generate_images.sampler"] == "the model's own if absent"
    mark = form["generate_images.mark"]["properties"]
    assert (
        mark["watermark"]["enum"] == ["none", "pattern", "rivaGan"]
        and values["generate_images.mark"]["system"] == "PanGu-Draw"
    )
    assert values["generate_images.runtime"] == {"workers": 2, "cpus_per_worker": 1.0, "threads": 1, "device": "cpu"}, (
        "the preset's keys, and the defaults of the others"
    )
    assert form["register_prompts.prompt_set"]["enum"][-1] is None


def test_a_preset_brings_its_schedules_and_its_shared_model(tmp_path_factory):
    found = parse(tmp_path_factory, PANGU_PRESET="small")
    assert all(not file["errors"] for file in found["files"].values())
    dags = {name: dag for file in found["files"].values() for name, dag in file["dags"].items()}
    crons = {name: dag["cron"] for name, dag in dags.items() if dag["cron"]}
    assert crons == {"rebuild_dataset": "0 1 * * *", "evaluate_nightly": "0 3 * * *"}
    assert dags["evaluate_nightly"]["assets"] == ["generated_images"]
    assert "train_shared" in dags["train_experts"]["tasks"]
    for expert in ("train_structure", "train_texture"):
        assert dags["train_experts"]["tasks"][expert]["after"] == ["train_shared"]
