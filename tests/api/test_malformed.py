import pytest

from gateway.api.malformed import readable
from gateway.core.errors import GatewayError, StreamInterrupted, UpstreamUnavailable


@pytest.mark.parametrize("failure", [AttributeError, KeyError, TypeError, ValueError])
@pytest.mark.parametrize("kind", [StreamInterrupted, UpstreamUnavailable])
def test_what_cannot_be_read_is_an_error_of_that_kind(
    kind: type[GatewayError], failure: type[Exception]
) -> None:
    with pytest.raises(kind, match="not a chat completion"), readable(kind):
        raise failure("sk-secret")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(OSError, match="disk"), readable(StreamInterrupted):
        raise OSError("disk")
