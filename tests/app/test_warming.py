"""A gateway that starts anew knows what its targets have seen and spent."""

import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from gateway.app.warming import live_policies, warm
from gateway.core.price import Cost
from gateway.routing.policy import FixedThreshold, Policy
from gateway.routing.targets import NOTHING, ShareTarget, SpendTarget
from tests.accounting.ledger_entries import entry, record


def test_scores_and_money_come_back_from_the_ledger(tmp_path: Path) -> None:
    chance = random.Random(1)
    now = datetime.now(UTC)
    usd = Cost(Decimal("0.01"), "computed", "p")
    rows = [
        entry(ts=now, score=chance.random() / 2, router_version="r2-x", policy=policy, cost=usd)
        for policy in ("third", "capped")
        for _ in range(300)
    ]
    others = [entry(ts=now, score=0.99, router_version="r2-other", cost=usd) for _ in range(300)]
    others += [entry(ts=now, score=0.01, router_version="r2-x", policy="x") for _ in range(300)]
    url = f"sqlite:///{tmp_path}/ledger.db"
    record(url, *rows, *others)
    share = Policy("third", ShareTarget(0.3, [0.9] * 10))
    capped = Policy("capped", SpendTarget(Decimal(3), 0.5))
    fixed = Policy("fixed", FixedThreshold(0.5))
    live = live_policies([share, capped, fixed])
    assert live == [share, capped]
    warm(live, url, "r2-x")
    assert 0.3 < share.threshold < 0.4
    assert capped.threshold == NOTHING, "3 USD are spent"
    part = Policy("capped", SpendTarget(Decimal("1.6"), 0.5))
    warm([part], url, "r2-x", processes=2)
    assert part.threshold == 0.5, "its part of the 3 USD is 1.5"


def test_a_ledger_that_isn_t_there_or_can_t_be_read_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_text("this is no database, and long enough to be read as one")
    for name in ("absent", "broken"):
        policy = Policy("third", ShareTarget(0.5, [0.2, 0.8]))
        warm([policy], f"sqlite:///{tmp_path}/{name}.db", "r2-x")
        assert policy.threshold == 0.8
