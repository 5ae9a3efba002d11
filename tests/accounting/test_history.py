"""Requests read back from rows that a real ledger wrote, in each kind of database."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.accounting.database import feedback, open_for_writing
from gateway.accounting.history import LoggedRequest, average_output_price, requests_of
from gateway.accounting.query import LedgerReader
from gateway.core.deployment import Tier
from gateway.core.errors import LedgerUnavailable
from gateway.core.price import UNPRICED, Cost
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import NOON, entry, record

SMALL = {"tier": "small", "deployment": "smollm2", "reason": "below_threshold"}


def cost(usd: str) -> Cost:
    return Cost(Decimal(usd), "computed", "p")


def rate(url: str, request_id: str, *scores: float) -> None:
    """Give feedback, one an hour."""
    engine = open_for_writing(url, durable=True)
    rows = [
        {"request_id": request_id, "ts": NOON + timedelta(hours=hour), "score": score}
        for hour, score in enumerate(scores)
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(feedback), rows)
    engine.dispose()


@pytest.fixture(scope="module")
def url(new_ledger_url: Callable[[], str]) -> str:
    """An answer at once, one after a failure and a fallback, a failure, an unpriced leg."""
    address = new_ledger_url()
    scored: dict[str, Any] = {"threshold": 0.5, "policy": "balanced"}
    failed = {"usage": None, "cost": UNPRICED, "outcome": "timeout", "status": 504}
    later = {"ts": NOON + timedelta(hours=1)}
    record(
        address,
        entry(request_id="plain", score=0.25, **SMALL, **scored, tags={"team": "search"}),
        entry(request_id="fell", score=0.75, **scored, **failed, **later, propensity=0.9),
        entry(
            request_id="fell",
            attempt=2,
            ts=NOON + timedelta(hours=3),
            score=0.75,
            **scored,
            **(SMALL | {"reason": "fallback"}),
            usage=Usage(50, 5, cached_tokens=2),
            cost=cost("0.001"),
            propensity=0.9,
        ),
        entry(request_id="failed", **failed, ts=NOON + timedelta(hours=2)),
        entry(
            request_id="unpriced", **SMALL, cost=UNPRICED, key_id="k", ts=NOON - timedelta(hours=1)
        ),
        entry(request_id="unpriced", attempt=2, cost=cost("0.002"), reason="escalated", key_id="k"),
    )
    rate(address, "plain", 0.0, 1.0)
    return address


def read(url: str, **filters: Any) -> list[LoggedRequest]:
    return list(requests_of(LedgerReader(url), **filters))


def test_a_request_has_its_decision_its_answer_and_the_newest_feedback(url: str) -> None:
    assert read(url, tag="team=search") == [
        LoggedRequest(
            request_id="plain",
            ts=NOON,
            tier=Tier.SMALL,
            reason="below_threshold",
            policy="balanced",
            score=0.25,
            threshold=0.5,
            usage=Usage(10, 20),
            answer_tier=Tier.SMALL,
            answer_usd=Decimal("0.00000625"),
            usd=Decimal("0.00000625"),
            feedback=1.0,
        )
    ]


def test_attempts_are_one_request_decided_by_the_first_and_answered_by_the_last(url: str) -> None:
    (fell,) = [one for one in read(url) if one.request_id == "fell"]
    assert (fell.tier, fell.reason, fell.propensity) == (Tier.LARGE, "above_threshold", 0.9)
    assert (fell.answer_tier, fell.usage) == (Tier.SMALL, Usage(50, 5, cached_tokens=2))
    assert (fell.usd, fell.answer_usd) == (Decimal("0.001"), Decimal("0.001"))
    assert fell.feedback is None


def test_a_request_with_an_unpriced_leg_has_no_known_cost(url: str) -> None:
    (unpriced,) = read(url, key="k")
    assert (unpriced.usd, unpriced.answer_usd) == (None, Decimal("0.002"))


def test_a_request_that_only_failed_cost_nothing_and_has_no_answer(url: str) -> None:
    (failed,) = [one for one in read(url) if one.request_id == "failed"]
    assert (failed.usd, failed.usage, failed.answer_tier) == (Decimal(0), None, None)
    assert not failed.is_routed


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["failed", "fell", "plain", "unpriced"]),
        ({"since": NOON, "until": NOON + timedelta(hours=2)}, ["fell", "plain"]),
        ({"since": NOON + timedelta(hours=3)}, []),
        ({"key": "nobody"}, []),
    ],
)
def test_the_newest_come_first_and_filters_look_at_first_attempts(
    url: str, filters: dict[str, Any], found: list[str]
) -> None:
    assert [one.request_id for one in read(url, **filters)] == found


@pytest.mark.parametrize(
    ("reason", "routed"),
    [
        ("below_threshold", True),
        ("above_threshold", True),
        ("no_large_backend", True),
        ("explored", True),
        ("pinned", False),
        ("needs_vision", False),
        ("context_too_long", False),
    ],
)
def test_only_a_threshold_s_decisions_can_change_with_it(reason: str, routed: bool) -> None:
    request = LoggedRequest("r", NOON, Tier.SMALL, reason, score=0.4, threshold=0.5)
    assert request.is_routed is routed


def test_output_tokens_cost_what_priced_calls_paid_on_average(url: str) -> None:
    reader = LedgerReader(url)
    # 0.00000625 for 20 tokens and 0.001 for 5; the unpriced call's tokens don't dilute it.
    assert average_output_price(reader, "smollm2") == Decimal("40.25")
    assert average_output_price(reader, "absent") is None


def test_a_missing_ledger_is_empty_and_an_unreadable_one_is_said_to_be(tmp_path: Any) -> None:
    assert read(f"sqlite:///{tmp_path}/none.db") == []
    assert average_output_price(LedgerReader(f"sqlite:///{tmp_path}/none.db"), "x") is None
    (tmp_path / "bad.db").write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerUnavailable):
        read(f"sqlite:///{tmp_path}/bad.db")
