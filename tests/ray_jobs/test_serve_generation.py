"""What the application is built with; `service` has the rest."""

import pytest

from ray_jobs.serve_generation import ServiceSettings, app, refuse_open_door
from ray_jobs.service.callers import Keyring


def test_settings_come_from_the_environment_within_bounds():
    settings = ServiceSettings.from_environment({"PANGU_API_KEYS": "a:first-long-key,b:second-long-key"})
    assert settings.limits.orders_of_a_tenant == settings.limits.orders_in_hand // 2
    one = ServiceSettings.from_environment({"PANGU_API_KEYS": "first-long-key", "PANGU_SERVE_TIMEOUT_S": "30"})
    assert one.limits.orders_of_a_tenant == one.limits.orders_in_hand and one.timeout_s == 30
    with pytest.raises(ValueError, match="PANGU_SERVE_TIMEOUT_S = 'long': accepted is a number from 1 to 180"):
        ServiceSettings.from_environment({"PANGU_SERVE_TIMEOUT_S": "long"})
    with pytest.raises(ValueError, match="none are accepted"):
        app({"experts": "experts@1"})


@pytest.mark.reliability(17)
def test_without_keys_it_does_not_listen_where_others_reach_it():
    for host in ("0.0.0.0", "::", "192.0.2.7"):
        with pytest.raises(ValueError, match="PANGU_API_KEYS"):
            refuse_open_door(host, Keyring({}))
        refuse_open_door(host, Keyring.of_text("a-long-enough-key"))
    refuse_open_door("127.0.0.1", Keyring({}))
