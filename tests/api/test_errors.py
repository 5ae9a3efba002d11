import orjson
import pytest

from gateway.api.errors import UnsupportedMediaType, envelope, headers_of, status_of
from gateway.core import errors


@pytest.mark.parametrize(
    ("error", "status", "error_type"),
    [
        (errors.InvalidRequest("x"), 400, "invalid_request_error"),
        (errors.ModelNotFound("x"), 404, "invalid_request_error"),
        (errors.ContextTooLong("x"), 400, "invalid_request_error"),
        (errors.CapabilityMissing("x"), 400, "invalid_request_error"),
        (errors.RequestTooLarge("x"), 413, "invalid_request_error"),
        (UnsupportedMediaType("x"), 415, "invalid_request_error"),
        (errors.Unauthorized("x"), 401, "invalid_request_error"),
        (errors.UpstreamError("x", status=422), 422, "invalid_request_error"),
        (errors.UpstreamError("x", status=429), 429, "rate_limit_error"),
        (errors.UpstreamError("x", status=500), 500, "server_error"),
        (errors.UpstreamError("x", status=401), 502, "server_error"),
        (errors.UpstreamError("x", status=403), 502, "server_error"),
        (errors.UpstreamUnavailable("x"), 502, "server_error"),
        (errors.UpstreamTimeout("x"), 504, "server_error"),
        (errors.StreamInterrupted("x"), 502, "server_error"),
        (errors.EngineUnavailable("x"), 503, "server_error"),
        (errors.GatewayError("x"), 500, "server_error"),
    ],
)
def test_each_error_has_its_status_and_type(
    error: errors.GatewayError, status: int, error_type: str
) -> None:
    assert status_of(error) == status
    inner = orjson.loads(envelope(error))["error"]
    assert inner.keys() == {"message", "type", "param", "code"}
    assert inner["type"] == error_type


def test_the_upstreams_own_words_are_kept() -> None:
    error = errors.UpstreamError(
        "no", status=400, param="tools[0]", code="bad_tool", error_type="tool_error"
    )
    inner = orjson.loads(envelope(error))["error"]
    assert inner == {"message": "no", "type": "tool_error", "param": "tools[0]", "code": "bad_tool"}


def test_retry_advice() -> None:
    error = errors.UpstreamError("busy", status=429, retry_after_s=1.2)
    assert headers_of(error) == [(b"retry-after", b"2")]
    error.exhausted = True
    assert (b"x-should-retry", b"false") in headers_of(error)
    assert headers_of(errors.Unauthorized("x")) == [(b"www-authenticate", b"Bearer")]
