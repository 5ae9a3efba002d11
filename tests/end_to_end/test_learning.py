"""The whole loop over HTTP: explore, rate, train, promote, serve with the new router."""

import random
from pathlib import Path
from typing import Any

import httpx

from tests.gateway_process import run_cli, running_gateway
from tests.vendor.fixture import RunningVendor

QUIET = {"OPENAI_API_KEY": "", "GATEWAY_API_KEYS": ""}
REQUESTS = 1_100


def config(vendor: RunningVendor, folder: Path, **routing: Any) -> dict[str, Any]:
    deployments = [
        {
            "name": name,
            "tier": tier,
            "backend": "openai",
            "model": name,
            "base_url": vendor.base_url,
            "price": {"input": price, "output": price},
        }
        for name, tier, price in (("tiny", "small", 0), ("gpt-4o", "large", 10))
    ]
    ledger = {"url": f"sqlite:///{folder}/ledger.db", "keep_messages": True}
    return {"deployments": deployments, "ledger": ledger, "routing": routing}


def ask(http: httpx.Client, subject: str, number: int, model: str = "auto") -> httpx.Response:
    text = f"Tell me about {subject} in the {number}th century, please."
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    response = http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200
    return response


def test_rated_traffic_makes_a_router_that_takes_over(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    chance = random.Random(3)
    with running_gateway(tmp_path, config(vendor, tmp_path, exploration=1.0)) as gateway:
        with httpx.Client(base_url=gateway.url, timeout=30) as http:
            answers = []
            for number in range(REQUESTS):
                subject = "falconry" if number % 2 else "pottery"
                answers.append((subject, ask(http, subject, number)))
            for subject, answer in answers:
                fails = subject == "falconry" and answer.headers["x-gateway-tier"] == "small"
                rating = 0.0 if fails and chance.random() < 0.9 else 1.0
                body = {"request_id": answer.headers["x-request-id"], "score": rating}
                assert http.post("/v1/feedback", json=body).status_code == 201
        assert {answer.headers["x-gateway-reason"] for _, answer in answers} == {"explored"}
        before = answers[0][1].headers["x-gateway-router"]
        gap_before = gap(answers)
        routers = tmp_path / "routers"
        where = ("--config", gateway.config, "--folder", routers)
        shown = " ".join(run_cli("train", *where, env=QUIET).split())
        assert "is promoted" in shown
    (tmp_path / "again").mkdir()
    learnt = config(vendor, tmp_path, classifier=str(routers))
    with (
        running_gateway(tmp_path / "again", learnt) as gateway,
        httpx.Client(base_url=gateway.url, timeout=30) as http,
    ):
        again = [(s, ask(http, s, 7)) for s in ("falconry", "pottery")]
    assert again[0][1].headers["x-gateway-router"] != before
    assert gap(again) > gap_before + 0.1


def gap(answers: list[tuple[str, httpx.Response]]) -> float:
    """By how much falconry scores above pottery."""

    def mean(subject: str) -> float:
        scores = [float(a.headers["x-gateway-score"]) for s, a in answers if s == subject]
        return sum(scores) / len(scores)

    return mean("falconry") - mean("pottery")
