"""The deployment files name what exists, keep every door shut, and have the shape that their readers expect."""

import json
import re
import shlex
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ray_jobs.artifacts import JOBS
from ray_jobs.config import check_settings, job_settings, parse_assignments

ROOT = Path(__file__).parents[2]
KUBERAY = sorted((ROOT / "infra" / "kuberay").glob("*.yaml"))
DOCKERFILES = sorted((ROOT / "infra" / "docker").glob("Dockerfile*"))
SCHEMA = json.loads((Path(__file__).parent / "manifest_schema.json").read_text())


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


ALL = [(path.name, document) for path in KUBERAY for document in documents(path)]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for _, document in ALL if document["kind"] == kind]


def cluster_specs() -> list[dict[str, Any]]:
    own = [job["spec"]["rayClusterSpec"] for job in of_kind("RayJob") if "rayClusterSpec" in job["spec"]]
    served = [service["spec"]["rayClusterConfig"] for service in of_kind("RayService")]
    return [cluster["spec"] for cluster in of_kind("RayCluster")] + own + served


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def container(group: dict[str, Any]) -> dict[str, Any]:
    return group["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(("name", "document"), ALL, ids=[f"{n}:{d['metadata']['name']}" for n, d in ALL])
def test_every_document_fits_the_schema(name, document):
    kinds = SCHEMA["$defs"]
    schema = {"$ref": f"#/$defs/{document['kind']}", "$defs": kinds}
    jsonschema.Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.pop("authOptions"),
        lambda spec: spec["authOptions"].update(mode="disabled"),
        lambda spec: container(spec["headGroupSpec"]).pop("resources"),
        lambda spec: container(spec["headGroupSpec"])["ports"][0].update(hostPort=6379),
        lambda spec: spec["headGroupSpec"]["template"]["spec"].update(hostNetwork=True),
        lambda spec: spec["headGroupSpec"].update(serviceType="LoadBalancer"),
        lambda spec: container(spec["workerGroupSpecs"][0]).update(image="pangu-platform"),
    ],
)
def test_the_schema_refuses_an_open_or_vague_cluster(spoil):
    cluster = json.loads(json.dumps(of_kind("RayCluster")[0]))
    spoil(cluster["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator({"$ref": "#/$defs/RayCluster", "$defs": SCHEMA["$defs"]}).validate(cluster)


def test_every_job_of_the_chain_has_a_manifest_and_no_other_exists():
    named = [shlex.split(job["spec"]["entrypoint"])[2] for job in of_kind("RayJob")]
    assert set(named) == set(JOBS)
    for job in of_kind("RayJob"):
        name = shlex.split(job["spec"]["entrypoint"])[2]
        assert job["metadata"]["name"] == f"pangu-{name.replace('_', '-')}"


def test_entrypoints_are_what_the_command_line_understands():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, function = scripts["pangu"].split(":")
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file() and function == "main"
    from typer.testing import CliRunner

    from ray_jobs.cli import app

    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert shown.exit_code == 0 and "--preset" in re.sub(r"\x1b\[[0-9;]*m", "", shown.output)


def test_presets_that_are_named_exist():
    named = {shlex.split(job["spec"]["entrypoint"])[4] for job in of_kind("RayJob")}
    values = yaml.safe_load((ROOT / "infra" / "airflow" / "values.yaml").read_text())
    named |= {entry["value"] for entry in values["env"] if entry["name"] == "PANGU_PRESET"}
    for preset in named:
        assert (ROOT / "ray_jobs" / "presets" / f"{preset}.toml").is_file(), preset


@pytest.mark.parametrize("job", of_kind("RayJob"), ids=lambda job: job["spec"]["entrypoint"])
def test_a_job_s_settings_are_accepted_and_its_cluster_can_hold_its_workers(job):
    _, _, name, _, preset, *rest = shlex.split(job["spec"]["entrypoint"])
    config = check_settings(name, job_settings(name, preset, parse_assignments(rest[1::2])))
    chosen = job["spec"].get("clusterSelector", {}).get("ray.io/cluster")
    standing = {cluster["metadata"]["name"]: cluster["spec"] for cluster in of_kind("RayCluster")}
    spec = standing[chosen] if chosen else job["spec"]["rayClusterSpec"]
    workers = getattr(config, "data_parallel", config.runtime.workers)
    resource = "nvidia.com/gpu" if config.runtime.device == "cuda" else "cpu"
    limits = [(group["maxReplicas"], container(group)["resources"]["limits"]) for group in spec["workerGroupSpecs"]]
    assert workers <= sum(replicas * int(limit.get(resource, 0)) for replicas, limit in limits)


def test_selected_clusters_and_referenced_objects_exist():
    clusters = {cluster["metadata"]["name"] for cluster in of_kind("RayCluster")}
    maps = {config["metadata"]["name"] for config in of_kind("ConfigMap")}
    settings = (ROOT / "infra" / "kuberay" / "settings.yaml").read_text()
    secrets = set(re.findall(r"create secret generic (\S+)", settings))
    for job in of_kind("RayJob"):
        assert job["spec"].get("clusterSelector", {"ray.io/cluster": "pangu"})["ray.io/cluster"] in clusters
    for spec in cluster_specs():
        assert spec["authOptions"]["secretName"] in secrets
        for group in groups(spec):
            sources = container(group)["envFrom"]
            assert all(source["configMapRef"]["name"] in maps for source in sources if "configMapRef" in source)
            assert all(source["secretRef"]["name"] in secrets for source in sources if "secretRef" in source)


def test_the_service_is_what_serve_reads_and_names_what_exists():
    from ray.serve.schema import ServeDeploySchema

    from ray_jobs import serve_generation

    (service,) = of_kind("RayService")
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    (application,) = config.applications
    module, name = application.import_path.split(":")
    assert (module, getattr(serve_generation, name)) == (serve_generation.__name__, serve_generation.app)
    bound = (serve_generation.GenerationApi, serve_generation.Jobs, serve_generation.ExpertsModel)
    deployments = {deployment.name: deployment for deployment in bound}
    assert {deployment.name for deployment in application.deployments} == set(deployments)
    assert config.http_options.request_timeout_s <= service["spec"]["rayClusterDeletionDelaySeconds"]
    assert all(
        d._deployment_config.graceful_shutdown_timeout_s >= config.http_options.request_timeout_s
        for d in deployments.values()
    )
    assert all(d.max_queued_requests > 0 for d in deployments.values())
    (policy,) = of_kind("NetworkPolicy")
    closed = [
        rule
        for rule in policy["spec"]["ingress"]
        if {"protocol": "TCP", "port": config.http_options.port} in rule.get("ports", [])
    ]
    assert [source["podSelector"] for rule in closed for source in rule["from"]] == [
        {"matchLabels": {"pangu/serve-client": "true"}}
    ]
    assert set(application.runtime_env["env_vars"]) == {serve_generation.EXPERTS_VARIABLE}
    for group in groups(service["spec"]["rayClusterConfig"]):
        assert {"secretRef": {"name": "pangu-serve-keys"}} in container(group)["envFrom"]


@pytest.mark.parametrize("path", sorted((ROOT / "infra" / "serve").glob("*.yaml")), ids=lambda path: path.name)
def test_a_serve_file_is_what_serve_reads_and_names_what_exists(path):
    from ray.serve.schema import ServeDeploySchema

    from ray_jobs import serve_generation

    config = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    (application,) = config.applications
    assert application.import_path == f"{serve_generation.__name__}:{serve_generation.app.__name__}"
    bound = {"GenerationApi", "Jobs", "ExpertsModel", "FusionModel"}
    assert {deployment.name for deployment in application.deployments} == bound
    assert all(hasattr(serve_generation, name) for name in bound)
    for name in application.runtime_env["env_vars"]:
        assert name in serve_generation.__doc__, name
    assert config.http_options.request_timeout_s <= serve_generation.DRAIN_S
    assert "PANGU_API_KEYS:" not in path.read_text(encoding="utf-8"), "keys are no configuration"


def test_one_image_and_one_ray_version_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for spec in cluster_specs():
        assert spec["rayVersion"] == metadata.version("ray")
        images = {container(group)["image"] for group in groups(spec)}
        assert len(images) == 1
        assert images.pop().removesuffix("-npu") == f"pangu-platform:{version}"


def test_requests_equal_limits_and_accelerators_are_stated_to_ray():
    for spec in cluster_specs():
        for group in groups(spec):
            resources = container(group)["resources"]
            assert resources["requests"] == resources["limits"]
        for group in spec["workerGroupSpecs"]:
            npus = container(group)["resources"]["limits"].get("huawei.com/Ascend910")
            stated = group["rayStartParams"].get("resources")
            assert (stated is None) == (npus is None)
            if stated:
                assert json.loads(json.loads(stated)) == {"NPU": npus}


def test_nothing_is_published_and_no_secret_is_written_down():
    for path in [*KUBERAY, ROOT / "infra" / "airflow" / "values.yaml"]:
        text = path.read_text()
        for word in ("NodePort", "LoadBalancer", "hostPort", "hostNetwork", "privileged: true", "kind: Ingress"):
            assert word not in text, (path.name, word)
        for document in documents(path):
            assert document.get("kind") != "Secret", path.name
    ports = {
        port["containerPort"] for spec in cluster_specs() for port in container(spec["headGroupSpec"]).get("ports", [])
    }
    assert ports == {6379, 8265, 10001, 8000}
    (policy,) = of_kind("NetworkPolicy")
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


AIRFLOW_KEYS = {
    *("airflowVersion", "defaultAirflowRepository", "defaultAirflowTag", "executor", "redis", "statsd", "postgresql"),
    *("pgbouncer", "data", "fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName", "createUserJob"),
    *("labels", "env", "secret", "extraEnvFrom", "config", "dags", "apiServer", "scheduler", "dagProcessor"),
    *("triggerer", "logs"),
}


def test_airflow_values_are_known_to_the_chart_and_fit_the_rest():
    values = yaml.safe_load((ROOT / "infra" / "airflow" / "values.yaml").read_text())
    assert set(values) == AIRFLOW_KEYS
    assert values["airflowVersion"] == metadata.version("apache-airflow")
    tag = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (values["defaultAirflowRepository"], values["defaultAirflowTag"]) == ("pangu-platform", tag)
    assert values["triggerer"]["enabled"] and values["dagProcessor"]["enabled"]
    assert not values["createUserJob"]["defaultUser"]["enabled"] and not values["postgresql"]["enabled"]
    for component in ("apiServer", "scheduler", "dagProcessor", "triggerer", "pgbouncer"):
        assert {"requests", "limits"} == set(values[component]["resources"]), component
    environment = {entry["name"]: entry["value"] for entry in values["env"]}
    assert environment["RAY_AUTH_MODE"] == "token"
    # KubeRay names a cluster's head service after the cluster.
    assert (
        environment["RAY_API_SERVER_ADDRESS"] == f"http://{of_kind('RayCluster')[0]['metadata']['name']}-head-svc:8265"
    )
    assert values["labels"].items() >= {"pangu/ray-client": "true"}.items()
    for entry in values["secret"]:
        assert set(entry) == {"envName", "secretName", "secretKey"}


def instructions(path: Path) -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#")))
    found = []
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            found.append((word, rest))
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=[path.name for path in DOCKERFILES])
def test_dockerfiles_copy_what_exists_and_do_not_run_as_root(path):
    parsed = instructions(path)
    assert {word for word, _ in parsed} <= {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER", "CMD"}
    for word, rest in parsed:
        if word == "COPY":
            *sources, target = rest.split()
            assert target.startswith("./")
            for source in sources:
                assert "*" in source or (ROOT / source).exists(), source
    users = [rest for word, rest in parsed if word == "USER"]
    assert users and users[-1].split(":")[0].isdigit() and users[-1] != "0:0"
    copied = {source.strip("./") for word, rest in parsed if word == "COPY" for source in rest.split()[:-1]}
    assert {"ray_jobs", "pangu", "curation", "dags", "infra/airflow_ray", "pyproject.toml"} <= copied


def test_the_dags_are_where_the_chart_looks_for_them():
    values = yaml.safe_load((ROOT / "infra" / "airflow" / "values.yaml").read_text())
    parsed = instructions(ROOT / "infra" / "docker" / "Dockerfile")
    folder = next(rest for word, rest in parsed if word == "WORKDIR")
    assert ("COPY", "dags ./dags") in parsed
    assert values["config"]["core"]["dags_folder"] == f"{folder}/dags"


def test_torch_npu_stays_out_of_the_common_image():
    assert "npu" not in " ".join(rest for _, rest in instructions(ROOT / "infra" / "docker" / "Dockerfile"))
