"""`slm-gateway chat` against a running gateway."""

from tests.end_to_end.conftest import SECRETS
from tests.gateway_process import RunningGateway, run_cli
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor


def test_the_answer_shows_its_tier_score_and_cost(gateway: RunningGateway) -> None:
    told = run_cli(
        *("chat", "--config", gateway.config, "--url", gateway.url),
        *("--temperature", "0", "-m", "What is the capital of France?"),
        env={**SECRETS, "COLUMNS": "200"},
    )
    assert "Paris" in told
    assert "small · smollm2" in told
    assert "score 0." in told
    assert "below_threshold" in told
    assert "$0.0" in told


def test_a_hard_question_shows_the_large_tier(gateway: RunningGateway) -> None:
    told = run_cli(
        *("chat", "--config", gateway.config, "--url", gateway.url),
        *("-m", "Prove that √2 is irrational."),
        env={**SECRETS, "COLUMNS": "200"},
    )
    assert ANSWER.split()[0] in told
    assert "large · gpt-4o" in told
    assert "$0.00009250" in told


def test_an_error_is_shown_as_one_sentence(gateway: RunningGateway, vendor: RunningVendor) -> None:
    vendor.always(Behaviour(status=422))
    command = ("chat", "--config", gateway.config, "--url", gateway.url, "--model", "gpt-4o")
    told = run_cli(*command, "-m", "Hi", env=SECRETS, status=1)
    assert "Traceback" not in told
