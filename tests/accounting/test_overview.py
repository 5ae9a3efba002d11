"""The dashboard's sums, against the same figures made from the rows one by one."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.accounting.overview import Overview
from gateway.accounting.query import LedgerReader
from gateway.core.entry import LedgerEntry
from gateway.core.price import UNPRICED, Cost
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import entry, record

START = datetime(2026, 3, 1, 5, 30, tzinfo=UTC)
EVER = (START - timedelta(days=400), START + timedelta(days=400))


def _call(place: int, chance: random.Random) -> LedgerEntry:
    score = chance.random()
    tier = "large" if score >= 0.5 else "small"
    outcome = chance.choices(["ok", "timeout", "cancelled"], [8, 1, 1])[0]
    cost = Cost(Decimal(chance.randrange(10**9)).scaleb(-12), "computed", "p")
    return entry(
        request_id=f"r{place}",
        ts=START + timedelta(minutes=37 * place),
        deployment=f"{tier}-model",
        tier=tier,
        outcome=outcome,
        score=None if place % 10 == 0 else score,
        policy="balanced",
        attempt=1 if place % 7 else 2,
        usage=Usage(chance.randrange(100), chance.randrange(100)),
        cost=UNPRICED if place % 5 == 0 else cost,
        energy_wh=0.5 if tier == "small" else None,
        latency_ms=chance.lognormvariate(6, 1),
        ttft_ms=chance.lognormvariate(4, 1),
    )


@pytest.fixture(scope="module")
def calls() -> list[LedgerEntry]:
    """A call every 37 minutes, for five days."""
    chance = random.Random(7)
    return [_call(place, chance) for place in range(200)]


@pytest.fixture(scope="module")
def overview(new_ledger_url: Callable[[], str], calls: list[LedgerEntry]) -> Overview:
    """What the ledger says of them, written in several batches."""
    url = new_ledger_url()
    for start in range(0, len(calls), 70):
        record(url, *calls[start : start + 70])
    return Overview(LedgerReader(url))


def _usd(calls: list[LedgerEntry]) -> Decimal:
    return sum((one.cost.usd for one in calls if one.cost.usd is not None), Decimal(0))


@pytest.mark.parametrize("step", ["hour", "day"])
@pytest.mark.parametrize(
    ("since", "until"),
    [
        EVER,
        (datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)),
        (datetime(2026, 3, 1, 23, tzinfo=UTC), datetime(2026, 3, 3, 2, tzinfo=UTC)),
        (datetime(2026, 3, 2, 3, tzinfo=UTC), datetime(2026, 3, 2, 19, tzinfo=UTC)),
        (datetime(2026, 3, 2, 22, tzinfo=UTC), datetime(2026, 3, 3, 3, tzinfo=UTC)),
    ],
)
def test_spend_of_any_interval_is_the_sum_of_its_calls(
    overview: Overview, calls: list[LedgerEntry], since: datetime, until: datetime, step: Any
) -> None:
    expected: dict[tuple[str, str], list[LedgerEntry]] = {}
    for one in calls:
        if since <= one.ts < until:
            start = one.ts.replace(minute=0, second=0, microsecond=0)
            start = start if step == "hour" else start.replace(hour=0)
            name = f"{start:%Y-%m-%dT%H:%M:%SZ}"
            expected.setdefault((name, one.tier), []).append(one)
    found = {(part["start"], part["tier"]): part for part in overview.spend(since, until, step)}
    assert list(found) == sorted(expected)
    for group, some in expected.items():
        part = found[group]
        assert part["calls"] == len(some)
        assert part["errors"] == sum(one.outcome == "timeout" for one in some)
        assert Decimal(part["cost_usd"] or 0) == _usd(some)
        assert part["unpriced"] == sum(one.cost.usd is None for one in some)
        assert part["prompt_tokens"] == sum(one.usage.prompt_tokens for one in some if one.usage)
        assert part["energy_wh"] == (0.5 * len(some) if group[1] == "small" else None)
        assert part["co2_g"] is None


def test_an_interval_is_widened_to_whole_hours(overview: Overview) -> None:
    hour = datetime(2026, 3, 2, 9, tzinfo=UTC)
    minutes = (hour + timedelta(minutes=20), hour + timedelta(minutes=21))
    assert overview.spend(*minutes, "hour") == overview.spend(
        hour, hour + timedelta(hours=1), "hour"
    )
    assert overview.spend(*minutes, "hour")


def test_quantiles_are_within_five_percent(overview: Overview, calls: list[LedgerEntry]) -> None:
    for part in overview.latency(*EVER):
        some = [one for one in calls if one.deployment == part["deployment"]]
        assert part["calls"] == len(some)
        well = [one for one in some if one.outcome == "ok"]
        for name, values in (
            ("", sorted(one.latency_ms for one in well)),
            ("ttft_", sorted(one.ttft_ms or 0 for one in well)),
        ):
            for percent in (50, 99):
                exact = values[-(-len(values) * percent // 100) - 1]
                assert part[f"{name}p{percent}_ms"] == pytest.approx(exact, rel=0.05)


def test_scores_are_of_first_attempts_that_were_scored(
    overview: Overview, calls: list[LedgerEntry]
) -> None:
    scored = [one for one in calls if one.score is not None and one.attempt == 1]
    bins = overview.scores(*EVER)
    assert sum(one["requests"] for one in bins) == len(scored)
    assert sum((Decimal(one["cost_usd"] or 0) for one in bins), Decimal(0)) == _usd(scored)
    assert all((one["bin"] >= 50) == (one["tier"] == "large") for one in bins)
    for one in bins:
        least, above = one["bin"] / 100, (one["bin"] + 1) / 100
        some = [call for call in scored if least <= (call.score or 0) < above]
        assert one["requests"] == len(some)
        assert one["policy"] == "balanced"


def test_later_attempts_stand_apart(
    new_ledger_url: Callable[[], str],
) -> None:
    url = new_ledger_url()
    scored = {"score": 0.3, "policy": "careful"}
    cost = Cost(Decimal("0.25"), "computed", "p")
    record(
        url,
        entry(request_id="a", tier="small", **scored),
        entry(request_id="a", attempt=2, reason="escalated", cost=cost, **scored),
        entry(request_id="b", **scored),
        entry(request_id="b", attempt=2, reason="fallback", cost=UNPRICED, **scored),
        entry(request_id="c", attempt=2, reason="fallback"),
    )
    overview = Overview(LedgerReader(url))
    assert sum(one["requests"] for one in overview.scores(*EVER)) == 2
    later = {"policy": "careful", "tier": "large", "calls": 1}
    assert overview.later_attempts(*EVER) == [
        {**later, "escalated": True, "cost_usd": "0.25", "unpriced": 0},
        {**later, "escalated": False, "cost_usd": None, "unpriced": 1},
    ]


def test_where_there_is_no_ledger_there_is_nothing(tmp_path: Path) -> None:
    overview = Overview(LedgerReader(f"sqlite:///{tmp_path}/none.db"))
    assert overview.spend(*EVER, "day") == overview.latency(*EVER) == overview.scores(*EVER) == []
