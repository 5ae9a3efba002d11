"""What a virtual key may do with what lies upstream."""

import pytest

from gateway.api.passthrough import OPERATIONS, check_reach
from gateway.core.access import VirtualKey
from gateway.core.errors import Forbidden

ANY, SOME = VirtualKey("vk_1", "any"), VirtualKey("vk_2", "some", models=frozenset({"auto"}))


@pytest.mark.parametrize(
    ("key", "refused"),
    [
        (None, set()),
        (ANY, {"GET /v1/files", "GET /v1/batches"}),
        (SOME, {"GET /v1/files", "GET /v1/batches", "POST /v1/batches"}),
    ],
)
def test_what_all_keys_have_upstream_is_no_single_ones(
    key: VirtualKey | None, refused: set[str]
) -> None:
    found = set()
    for operation in OPERATIONS:
        try:
            check_reach(operation, key)
        except Forbidden:
            found.add(f"{operation.method} {operation.path}")
    assert found == refused
