"""Feedback over HTTP, by the id that the SDK shows."""

import httpx
import pytest
from openai import OpenAI

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway

HEADERS = {"Authorization": f"Bearer {CLIENT_KEY}"}


def test_an_answer_can_be_rated_at_once(gateway: RunningGateway, client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hello"}]
    )
    body = {"request_id": answer._request_id, "score": 0.75, "comment": "good"}
    response = httpx.post(f"{gateway.base_url}/feedback", json=body, headers=HEADERS)
    assert response.status_code == 201
    assert response.json() == {"object": "feedback", **body}
    other = {"Authorization": "Bearer sk-client-2"}
    assert httpx.post(f"{gateway.base_url}/feedback", json=body, headers=other).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"request_id": "req_absent", "score": 1}, 404, "request_id"),
        ({"request_id": "r", "score": 1.5}, 400, "score"),
        ({"request_id": "r"}, 400, "score"),
        ({"score": 1}, 400, "request_id"),
        ({"request_id": "r", "score": "good"}, 400, "score"),
        ({"request_id": "r", "score": 1, "comment": "x" * 5000}, 400, "comment"),
    ],
)
def test_bad_feedback_is_refused_in_the_envelope(
    gateway: RunningGateway, body: dict[str, object], status: int, param: str
) -> None:
    response = httpx.post(f"{gateway.base_url}/feedback", json=body, headers=HEADERS)
    assert response.status_code == status
    assert response.json()["error"]["param"] == param
    assert response.headers["x-request-id"]
