"""What the application is built with; `service` has the rest."""

import json

import pytest
from ray import serve

from ray_jobs.serve_generation import (
    ExpertsModel,
    FusionModel,
    GenerationApi,
    Jobs,
    ServiceSettings,
    app,
    build,
    is_spread,
    refuse_open_door,
)
from ray_jobs.service.callers import Keyring
from tests.ray_jobs.service.stub_engine import StubLoader
from tests.ray_jobs.service.stub_fusion import StubFusionLoader


def test_settings_come_from_the_environment_within_bounds():
    settings = ServiceSettings.from_environment({"PANGU_API_KEYS": "a:first-long-key,b:second-long-key"})
    assert settings.limits.orders_of_a_tenant == settings.limits.orders_in_hand // 2
    one = ServiceSettings.from_environment({"PANGU_API_KEYS": "first-long-key", "PANGU_SERVE_TIMEOUT_S": "30"})
    assert one.limits.orders_of_a_tenant == one.limits.orders_in_hand and one.timeout_s == 30
    with pytest.raises(ValueError, match="PANGU_SERVE_TIMEOUT_S = 'long': accepted is a number from 1 to 180"):
        ServiceSettings.from_environment({"PANGU_SERVE_TIMEOUT_S": "long"})
    with pytest.raises(ValueError, match="none are accepted"):
        app({"experts": "experts@1"})


def test_members_are_spread_where_there_is_a_file_of_them():
    assert not is_spread({}) and not is_spread({"PANGU_SERVE_SPREAD": "0", "PANGU_SERVE_MEMBERS": "experts"})
    assert is_spread({"PANGU_SERVE_SPREAD": "1", "PANGU_SERVE_MEMBERS": "/etc/pangu/members.toml"})
    with pytest.raises(ValueError, match="PANGU_SERVE_SPREAD = 'yes': accepted are 0 and 1"):
        is_spread({"PANGU_SERVE_SPREAD": "yes"})
    for members in ("", "experts"):
        with pytest.raises(ValueError, match="accepted with a member file"):
            is_spread({"PANGU_SERVE_SPREAD": "1", "PANGU_SERVE_MEMBERS": members})


def test_its_parts_find_each_other(tmp_path):
    """Serve's local mode: the replicas' classes in this process, their handles made by Serve."""
    (tmp_path / "alias").write_text("one")
    application = build(StubLoader(tmp_path / "alias", step_s=0.0), ServiceSettings(follow_s=0.0), StubFusionLoader())
    door = serve.run(application, name="local", _local_testing_mode=True)
    answer = door.health.remote().result(timeout_s=30)
    assert (answer.status_code, json.loads(answer.body)["model"]) == (200, "experts@one")
    deployments = {d.name: d for d in (GenerationApi, Jobs, ExpertsModel, FusionModel)}
    for name, deployment in deployments.items():
        config = deployment._deployment_config
        assert config.max_surge_percent == 100, f"{name}: a new replica comes before an old one goes"
        assert config.graceful_shutdown_timeout_s >= 180 and config.max_queued_requests > 0


@pytest.mark.reliability(17)
def test_without_keys_it_does_not_listen_where_others_reach_it():
    for host in ("0.0.0.0", "::", "192.0.2.7"):
        with pytest.raises(ValueError, match="PANGU_API_KEYS"):
            refuse_open_door(host, Keyring({}))
        refuse_open_door(host, Keyring.of_text("a-long-enough-key"))
    refuse_open_door("127.0.0.1", Keyring({}))
