"""The running gateway against requests that schemathesis makes of its own OpenAPI document."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.generation import GenerationMode

from gateway.api.passthrough import OPERATIONS as PASSTHROUGH_OPERATIONS
from tests.end_to_end.conftest import CLIENT_KEY, SECRETS, config_for, embedders_for
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.fixture import RunningVendor

AUTHORIZED = {"authorization": f"Bearer {CLIENT_KEY}"}
OPERATIONS = [
    ("post", "/v1/chat/completions"),
    ("post", "/v1/completions"),
    ("post", "/v1/messages"),
    ("post", "/v1/messages/count_tokens"),
    ("post", "/v1/responses"),
    ("get", "/v1/responses/{response_id}"),
    ("delete", "/v1/responses/{response_id}"),
    ("post", "/v1/responses/{response_id}/cancel"),
    ("get", "/v1/responses/{response_id}/input_items"),
    ("post", "/v1/embeddings"),
    ("post", "/v1/route"),
    ("post", "/v1/feedback"),
    ("get", "/v1/costs"),
    ("get", "/v1/models"),
    ("get", "/v1/models/{model_id}"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
]
#: Passed on: nothing but the model's name and the ids is read.
PASSED_ON = {(one.method.lower(), one.path) for one in PASSTHROUGH_OPERATIONS}
OPERATIONS += [
    ("post", "/v1/moderations"),
    ("post", "/v1/images/edits"),
    ("get", "/v1/files/{file_id}"),
]
WITH_INPUT = {
    path for method, path in OPERATIONS if method == "post" and not path.endswith("/cancel")
} | {"/v1/costs", "/v1/responses/{response_id}/input_items"}
CASES = [
    (method, path, mode)
    for method, path in OPERATIONS
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE or path in WITH_INPUT
]
EXAMPLES = 60
#: Feedback on a request that isn't known is answered only once its row would have come.
FEW_EXAMPLES = {"/v1/feedback": 10, **{path: 20 for _, path in PASSED_ON}}
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def remote(
    vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """Both tiers are the simulator's."""
    config = config_for(vendor_server)
    _, large = config["deployments"]
    _, embedder, _ = embedders_for(vendor_server)
    config["deployments"] = [{**large, "name": "mini", "tier": "small"}, large, embedder]
    del config["routing"]["policies"]["doubting"], config["routing"]["policies"]["trusting"]
    with running_gateway(tmp_path_factory.mktemp("fuzz"), config, env=SECRETS) as gateway:
        yield gateway
        log = gateway.log.read_text()
        assert "Traceback" not in log
        assert '"level":"error"' not in log


@pytest.fixture(scope="module")
def document(remote: RunningGateway) -> dict[str, Any]:
    response = httpx.get(f"{remote.url}/openapi.json", headers=AUTHORIZED)
    found: dict[str, Any] = response.json()
    return found


def test_the_document_needs_a_key_and_describes_every_endpoint(
    remote: RunningGateway, document: dict[str, Any]
) -> None:
    assert httpx.get(f"{remote.url}/openapi.json").status_code == 401
    described = {(method, path) for path, known in document["paths"].items() for method in known}
    assert described == set(OPERATIONS) | PASSED_ON


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_answers_conform_to_the_document(
    remote: RunningGateway,
    vendor: RunningVendor,
    document: dict[str, Any],
    method: str,
    path: str,
    mode: GenerationMode,
) -> None:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=remote.url)
    operation = schema[path][method]
    statuses: set[int] = set()

    @seed(20260101)
    @settings(
        max_examples=FEW_EXAMPLES.get(path, EXAMPLES),
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=mode), model=st.sampled_from(["auto", "gpt-4o"])
    )
    def run(case: Any, model: str) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = model
        response = case.call(headers=AUTHORIZED)
        case.validate_response(response, checks=CHECKS)
        assert response.headers["x-request-id"][0].startswith("req_")
        statuses.add(response.status_code)

    run()
    assert max(statuses) < 500
