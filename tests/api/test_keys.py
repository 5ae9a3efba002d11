from typing import Any

import pytest

from gateway.api.keys import NOBODY, KeyRing
from gateway.core.errors import Unauthorized


def scope(path: str = "/v1/models", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "path": path, "headers": pairs, "query_string": b"api_key=sk-right"}


def test_without_keys_everybody_is_let_in() -> None:
    assert KeyRing([]).identify(scope()) == NOBODY


def test_a_known_key_gives_its_id_and_not_itself() -> None:
    ring = KeyRing(["sk-other", "sk-right"])
    identity = ring.identify(scope(authorization="Bearer sk-right"))
    assert identity.key_id is not None
    assert identity.key is None
    assert "sk-right" not in identity.key_id
    assert identity == ring.identify(scope(authorization="bearer   sk-right"))
    assert identity != ring.identify(scope(authorization="Bearer sk-other"))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer sk-wrong"},
        {"authorization": "Basic sk-right"},
        {"authorization": "sk-right"},
        {"x_api_key": "sk-right"},
    ],
)
def test_anything_else_is_refused_without_naming_a_key(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized) as caught:
        KeyRing(["sk-right"]).identify(scope(**headers))
    assert "sk-" not in caught.value.message


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_anthropics_header_counts_on_its_own_endpoints(path: str) -> None:
    ring = KeyRing(["sk-right"])
    assert ring.identify(scope(path, x_api_key="sk-right")).key_id
    with pytest.raises(Unauthorized):
        ring.identify(scope("/v1/messagesx", x_api_key="sk-right"))
