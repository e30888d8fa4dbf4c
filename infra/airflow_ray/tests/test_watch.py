"""Client, log reader, watch and generations against a real Ray head."""

import asyncio
import time
import uuid

import pytest
from airflow_ray.attempts import find_job, last_cleared_try
from airflow_ray.endpoint import RayEndpoint
from airflow_ray.errors import RayRefusedError, RayUnreachableError
from airflow_ray.job import TRY_NUMBER_KEY, JobStatus, Plan
from airflow_ray.job_log import JobLog
from airflow_ray.jobs_client import RayJobsClient
from airflow_ray.watch import JobWatch, WatchSettings, stop_and_wait
from processes import free_port

pytestmark = pytest.mark.ray
SETTINGS = WatchSettings(poll_interval_s=0.5, stop_wait_s=30, unreachable_timeout_s=2)


@pytest.fixture
def name():
    return f"test-{uuid.uuid4().hex[:12]}"


def with_client(head, use):
    """Return what `await use(client)` returns."""

    async def call():
        endpoint = RayEndpoint(head.address, {"Authorization": f"Bearer {head.token}"})
        async with RayJobsClient(endpoint) as client:
            return await use(client)

    return asyncio.run(call())


def plan(entrypoint: str, try_number: int = 1) -> Plan:
    return Plan(entrypoint=entrypoint, metadata={TRY_NUMBER_KEY: str(try_number)})


def watch_with(client, name: str, planned: Plan | None, log: JobLog, deadline=None, try_number=1) -> JobWatch:
    return JobWatch(
        client, name, plan=planned, try_number=try_number, deadline=deadline, settings=SETTINGS, log=log, say=print
    )


def test_a_second_submit_under_one_id_is_no_second_job(ray_head, name):
    async def use(client):
        return [await client.submit(name, plan("sleep 1")) for _ in range(3)]

    assert with_client(ray_head, use) == [True, False, False]
    assert list(ray_head.jobs(name)) == [name]


def test_sixteen_submits_at_once_make_one_job(ray_head, name):
    async def use(client):
        return await asyncio.gather(*(client.submit(name, plan("true")) for _ in range(16)))

    assert sum(with_client(ray_head, use)) == 1


def test_a_wrong_token_is_refused_and_a_silent_port_unreachable(ray_head, name):
    async def find(address: str, token: str):
        async with RayJobsClient(RayEndpoint(address, {"Authorization": f"Bearer {token}"})) as client:
            await client.find(name)

    with pytest.raises(RayRefusedError, match="403"):
        asyncio.run(find(ray_head.address, "f" * 64))
    with pytest.raises(RayUnreachableError):
        asyncio.run(find(f"http://127.0.0.1:{free_port()}", ray_head.token))


def test_an_invalid_request_is_refused_at_once(ray_head, name):
    broken = Plan(entrypoint="true", entrypoint_resources={"tpu": "many"})

    async def use(client):
        await client.submit(name, broken)

    with pytest.raises(RayRefusedError, match="entrypoint_resources values must be numbers"):
        with_client(ray_head, use)


def test_a_watched_job_gives_its_log_and_result(ray_head, name):
    lines = []
    log = JobLog(lines.append, result_prefix="RESULT")
    command = "echo one; echo 'RESULT {\"rows\": 1}'; sleep 3; echo 'RESULT {\"rows\": 2}'; printf unended"

    async def use(client):
        return await watch_with(client, name, plan(command), log).run()

    outcome = with_client(ray_head, use)
    assert (outcome.status, outcome.result_line, outcome.is_adopted) == (JobStatus.SUCCEEDED, '{"rows": 2}', False)
    ours = [line for line in lines if "INFO" not in line and not line.startswith("Running entrypoint")]
    assert ours == ["one", 'RESULT {"rows": 1}', 'RESULT {"rows": 2}', "unended"]


def test_a_second_reader_goes_on_where_the_first_was_cut(ray_head, name):
    lines, saved = [], [0]

    async def load() -> int:
        return saved[0]

    async def save(position: int) -> None:
        saved[0] = position

    async def use(client):
        command = "for i in $(seq 60); do echo line $i; sleep 0.1; done"
        first = asyncio.create_task(
            watch_with(client, name, plan(command), JobLog(lines.append, load=load, save=save)).run()
        )
        while not any(line.startswith("line") for line in lines):
            await asyncio.sleep(0.1)
        first.cancel()
        await asyncio.wait({first})
        num_first = len(lines)
        outcome = await watch_with(client, name, None, JobLog(lines.append, load=load, save=save), try_number=2).run()
        return num_first, outcome

    num_first, outcome = with_client(ray_head, use)
    assert [line for line in lines if line.startswith("line")] == [f"line {i}" for i in range(1, 61)]
    assert 0 < num_first < len(lines)
    assert (outcome.status, outcome.is_adopted) == (JobStatus.SUCCEEDED, True)


def test_a_deadline_stops_the_job(ray_head, name):
    async def use(client):
        return await watch_with(client, name, plan("sleep 300"), JobLog(print), deadline=time.time() + 3).run()

    outcome = with_client(ray_head, use)
    assert (outcome.status, outcome.is_timed_out) == (JobStatus.STOPPED, True)
    assert ray_head.status(name) == "STOPPED"


def test_an_unreachable_dashboard_is_borne_for_the_stated_time(name):
    async def use():
        async with RayJobsClient(RayEndpoint(f"http://127.0.0.1:{free_port()}")) as client:
            return await watch_with(client, name, plan("true"), JobLog(print)).run()

    start = time.monotonic()
    outcome = asyncio.run(use())
    assert outcome.is_unreachable
    assert "no answer for 2 s" in outcome.message
    assert 2 <= time.monotonic() - start < 8


def test_generations_follow_what_became_of_the_jobs(ray_head, name):
    def id_of(generation: int) -> str:
        return f"{name}-{generation}"

    async def found(client, cleared_try=0):
        result = await find_job(client, id_of, cleared_try=cleared_try, stop_wait_s=30)
        return result.generation, result.job.status.value if result.job else None

    async def ended(client, generation):
        while (await client.find(id_of(generation))).status.is_active:
            await asyncio.sleep(0.2)

    async def use(client):
        assert await found(client) == (0, None)
        await client.submit(id_of(0), plan("exit 3", try_number=1))
        await ended(client, 0)
        assert await found(client) == (1, None)
        await client.submit(id_of(1), plan("sleep 300", try_number=2))
        assert (await found(client))[0] == 1
        await stop_and_wait(client, id_of(1), 30)
        assert await found(client) == (2, None)
        await client.submit(id_of(2), plan("true", try_number=3))
        await ended(client, 2)
        assert await found(client) == (2, "SUCCEEDED")
        assert await found(client, cleared_try=3) == (3, None)
        await client.submit(id_of(3), plan("sleep 300", try_number=4))
        assert await found(client, cleared_try=4) == (4, None)
        assert (await client.find(id_of(3))).status is JobStatus.STOPPED

    with_client(ray_head, use)


def test_the_last_cleared_try_is_told_by_max_tries():
    assert last_cleared_try(max_tries=3, retries=3) == 0
    assert last_cleared_try(max_tries=4, retries=3) == 1
    assert last_cleared_try(max_tries=1, retries=0) == 1
    assert last_cleared_try(max_tries=2, retries=5) == 0


@pytest.mark.parametrize("runtime_env", [{"working_dir": "."}, {"py_modules": ["/srv/code"]}])
def test_a_local_folder_in_the_runtime_env_is_refused(runtime_env):
    with pytest.raises(ValueError, match="expected a URI"):
        Plan(entrypoint="true", runtime_env=runtime_env)
