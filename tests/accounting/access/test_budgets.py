"""Reservations in both databases: never more than the budget, whoever asks and whoever dies."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from gateway.accounting.access import reserving
from gateway.accounting.access.budget_reader import BudgetReader
from gateway.accounting.access.budgets import Budgets, Need
from gateway.accounting.access.keys import KeyStore
from gateway.accounting.access.reserving import Reserver
from gateway.accounting.pricing import pico_of
from gateway.core.access import Budget
from gateway.core.errors import LedgerUnavailable
from gateway.core.price import UNPRICED, Cost
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import entry, record

NOW = datetime.now(UTC)


def made(url: str, usd: str, over: Any = "refuse", name: str = "k") -> str:
    budget = Budget(pico_of(Decimal(usd)), "day", over)
    return KeyStore(url).create(name, budget=budget)[0].key.key_id


def need(key_id: str, number: int, usd: str = "1", *, forced: bool = False) -> Need:
    return Need(f"req_{number}", 1, key_id, pico_of(Decimal(usd)), datetime.now(UTC), forced)


def shown(url: str, *names: str) -> list[str]:
    budget = BudgetReader(url).budgets()[0]
    return [budget[name] for name in (*names, "state")]


def book(url: str, key_id: str, number: int, usd: str | None) -> None:
    """Write the row of a call, twice: as after a commit that nobody heard of."""
    cost = Cost(None if usd is None else Decimal(usd), "computed")
    at, usage = datetime.now(UTC), None if usd is None else Usage(10, 20)
    ended = entry(request_id=f"req_{number}", ts=at, key_id=key_id, cost=cost, usage=usage)
    for _ in range(2):
        record(url, ended)


@contextmanager
def reserver(url: str, owner: str = "one", lease_s: float = 60) -> Iterator[Reserver]:
    with closing(Reserver(url, owner, lease_s)) as found:
        yield found


def test_a_row_takes_the_place_of_its_reservation_once(ledger_url: str) -> None:
    key_id = made(ledger_url, "3")
    with reserver(ledger_url) as one, reserver(ledger_url, "two") as two:
        met = one.reserve([need(key_id, number) for number in range(2)], [])
        met += two.reserve([need(key_id, number) for number in range(2, 5)], [])
        assert [shortage is None for shortage in met] == [True, True, True, False, False]
        assert shown(ledger_url, "spent_usd", "reserved_usd") == ["0", "3", "ok"]
        book(ledger_url, key_id, 0, "0.25")
        book(ledger_url, key_id, 1, None)
        assert shown(ledger_url, "spent_usd", "reserved_usd") == ["0.25", "1", "ok"]
        met = two.reserve([need(key_id, 5), need(key_id, 6)], [])
        assert [shortage is None for shortage in met] == [True, False]
        met = one.reserve([need(key_id, 7, "2.5")], [("req_5", 1)])
        assert met[0] is not None, "it is released, but the call is dearer than what is left"
        assert (met[0].spent, met[0].reserved) == tuple(map(pico_of, (Decimal("0.25"), Decimal(1))))


def test_a_call_of_unknown_cost_keeps_what_was_reserved_for_it(ledger_url: str) -> None:
    key_id = made(ledger_url, "3")
    with reserver(ledger_url, lease_s=0.1) as one:
        one.reserve([need(key_id, number) for number in range(3)], [])
        unknown = {"key_id": key_id, "ts": datetime.now(UTC), "cost": UNPRICED}
        record(
            ledger_url,
            entry(request_id="req_0", **unknown),
            entry(request_id="req_1", **unknown, usage=None, ttft_ms=5.0),
            entry(request_id="req_2", **unknown, usage=None, outcome="upstream_error", status=502),
        )
        for _ in range(2):
            assert shown(ledger_url, "spent_usd", "reserved_usd") == ["2", "0", "ok"]
            one.renew()
        met = one.reserve([need(key_id, 3), need(key_id, 4)], [])
        assert [shortage is None for shortage in met] == [True, False]


def test_without_room_for_a_call_a_budget_is_used_up_until_it_is_raised(ledger_url: str) -> None:
    key_id = made(ledger_url, "2")
    with reserver(ledger_url) as one:
        assert one.reserve([need(key_id, 0, "5")], [])[0] is not None
        assert shown(ledger_url) == ["ok"], "a call too dear for any day says nothing of this one"
        one.reserve([need(key_id, 1, "1.5")], [])
        book(ledger_url, key_id, 1, "1.5")
        assert one.reserve([need(key_id, 2)], [])[0] is not None
        assert shown(ledger_url) == ["exhausted"]
        KeyStore(ledger_url).change("k", {"budget_pico": pico_of(Decimal(4))})
        assert shown(ledger_url) == ["ok"]
        assert one.reserve([need(key_id, 3)], []) == [None]


def test_the_small_tier_of_a_degrading_key_is_reserved_whatever_is_left(ledger_url: str) -> None:
    key_id = made(ledger_url, "1", "degrade")
    with reserver(ledger_url) as one:
        needs = [need(key_id, 0), need(key_id, 1), need(key_id, 2, "0.5", forced=True)]
        assert [one is None for one in one.reserve(needs, [])] == [True, False, True]
        assert shown(ledger_url, "reserved_usd") == ["1.5", "ok"]


def test_what_a_dead_process_held_counts_until_its_lease_is_over(ledger_url: str) -> None:
    key_id = made(ledger_url, "1")
    with reserver(ledger_url, "dies", lease_s=0.2) as dying, reserver(ledger_url) as other:
        assert dying.reserve([need(key_id, 0)], []) == [None]
        assert other.reserve([need(key_id, 1)], [])[0] is not None
        dying.renew()
        assert other.reserve([need(key_id, 1)], [])[0] is not None
        while other.reserve([need(key_id, 1)], [])[0] is not None:
            pass
        assert shown(ledger_url, "reserved_usd") == ["1", "ok"]


def test_a_reservation_whose_row_is_lost_ends_in_the_end(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id = made(ledger_url, "2")
    with reserver(ledger_url) as one:
        one.reserve([need(key_id, 0)], [])
        one.renew()
        assert shown(ledger_url, "reserved_usd") == ["1", "ok"]
        monkeypatch.setattr(reserving, "LONGEST_CALL_S", 0.0)
        one.renew()
        assert shown(ledger_url, "reserved_usd") == ["0", "ok"]


@pytest.mark.parametrize("asks_again", [False, True])
def test_what_a_commit_reserved_of_which_nobody_heard_is_given_back(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch, asks_again: bool
) -> None:
    key_id = made(ledger_url, "1")
    with reserver(ledger_url) as one:
        dialect = one._engine.dialect
        commit = dialect.do_commit

        def commit_unheard(connection: Any) -> None:
            commit(connection)
            raise ConnectionResetError

        with monkeypatch.context() as patched:
            patched.setattr(dialect, "do_commit", commit_unheard)
            with pytest.raises(ConnectionResetError):
                one.reserve([need(key_id, 0)], [])
        assert shown(ledger_url, "reserved_usd") == ["1", "ok"]
        if asks_again:
            assert one.reserve([need(key_id, 1)], []) == [None]
        else:
            one.renew()
            assert shown(ledger_url, "reserved_usd") == ["0", "ok"]


async def test_many_at_once_share_a_transaction_and_one_that_leaves_holds_nothing(
    new_ledger_url: Callable[[], str],
) -> None:
    url = new_ledger_url()
    key_id = made(url, "50")
    both = [Budgets(url), Budgets(url)]
    for one in both:
        one.start()
    asks = [
        asyncio.create_task(both[number % 2].met(need(key_id, number))) for number in range(120)
    ]
    found = await asyncio.gather(*asks)
    assert sum(shortage is None for shortage in found) == 50
    leaving = asyncio.create_task(both[0].met(need(made(url, "1", name="other"), 200)))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    async with asyncio.timeout(10):
        await both[0].met(need("vk_nobody", 201))  # whatever came before is done
    assert BudgetReader(url).budgets()[1]["reserved_usd"] == "0"
    for one in both:
        one.stop()


async def test_without_the_database_nothing_is_called(caplog: pytest.LogCaptureFixture) -> None:
    budgets = Budgets("sqlite:////no/such/folder/ledger.db")
    budgets.start()
    for number in range(2):
        with pytest.raises(LedgerUnavailable):
            await budgets.met(need("vk_1", number))
    budgets.stop()
    assert len(caplog.messages) == 1
