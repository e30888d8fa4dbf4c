from types import SimpleNamespace

import pytest
from airflow_ray.endpoint import resolve_endpoint


def connection(host="ray.svc", port=8265, schema=None, password=None):
    return SimpleNamespace(host=host, port=port, schema=schema, password=password)


def test_the_argument_goes_before_connection_and_environment():
    endpoint = resolve_endpoint("http://a:1", connection(), {"RAY_API_SERVER_ADDRESS": "http://c:3"})
    assert endpoint.address == "http://a:1"


@pytest.mark.parametrize(
    "given,address",
    [
        (connection(), "http://ray.svc:8265"),
        (connection(schema="https", port=None), "https://ray.svc"),
        (connection(host="https://ray.svc/cluster/", port=None), "https://ray.svc/cluster"),
    ],
)
def test_a_connection_gives_the_address(given, address):
    assert resolve_endpoint(None, given, {}).address == address


def test_a_gcs_address_in_the_environment_is_passed_over():
    environment = {"RAY_ADDRESS": "10.0.0.1:6379"}
    with pytest.raises(ValueError, match="address: got none"):
        resolve_endpoint(None, None, environment)
    assert resolve_endpoint(None, None, {"RAY_ADDRESS": "http://h:8265"}).address == "http://h:8265"


@pytest.mark.parametrize("address", ["ray://h:10001", "h:8265", "http://h?x=1", "http://user:s3cr3t@h:8265"])
def test_what_is_no_bare_http_url_is_refused_without_repeating_secrets(address):
    with pytest.raises(ValueError, match="address") as caught:
        resolve_endpoint(address, None, {})
    assert "s3cr3t" not in str(caught.value)


def test_the_token_comes_from_connection_variable_or_file_and_is_in_no_repr(tmp_path):
    path = tmp_path / "token"
    path.write_text("from-file\n")
    environment = {"RAY_AUTH_TOKEN_PATH": str(path)}
    by_file = resolve_endpoint("http://h", None, environment)
    assert by_file.headers == {"Authorization": "Bearer from-file"}
    by_variable = resolve_endpoint("http://h", None, {**environment, "RAY_AUTH_TOKEN": "from-variable"})
    assert by_variable.headers == {"Authorization": "Bearer from-variable"}
    by_connection = resolve_endpoint("http://h", connection(password="from-connection"), environment)
    assert by_connection.headers == {"Authorization": "Bearer from-connection"}
    assert "from-" not in f"{by_file}{by_variable!r}{by_connection}"


def test_token_mode_without_a_token_is_refused():
    with pytest.raises(ValueError, match="RAY_AUTH_MODE: got 'token' without a token"):
        resolve_endpoint("http://h", None, {"RAY_AUTH_MODE": "token"})
