"""The live feed: looked for only while somebody watches, told only when there is something new."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from gateway.api.dashboard import feed as feed_module
from gateway.api.dashboard.feed import Feed
from gateway.api.dashboard.shared import Shared


class Ledger:
    """The latest requests, and how often somebody looked."""

    def __init__(self) -> None:
        self.latest = b'["a"]'
        self.looks = 0
        self.is_away = False

    def __call__(self, _: None) -> bytes:
        self.looks += 1
        if self.is_away:
            raise OSError("the database is away")
        return self.latest


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(feed_module, "BEAT_EVERY_S", 0.2)


def feed_of(ledger: Ledger, ending: asyncio.Event | None = None) -> Feed:
    latest: Shared[None] = Shared(ledger, fresh_for_s=0)
    return Feed(latest, ending or asyncio.Event())


async def next_requests(events: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(5):
        async for event in events:
            if event.startswith(b"event: requests\n"):
                return event.partition(b"data: ")[2].strip()
    raise AssertionError("the feed has ended")


async def test_viewers_are_told_at_first_and_of_every_change() -> None:
    ledger = Ledger()
    feed = feed_of(ledger)
    async with aclosing(feed.watch()) as one, aclosing(feed.watch()) as other:
        assert await next_requests(one) == await next_requests(other) == b'["a"]'
        ledger.latest = b'["b","a"]'
        assert await next_requests(one) == await next_requests(other) == b'["b","a"]'


async def test_without_news_there_is_a_beat_and_nothing_else() -> None:
    feed = feed_of(Ledger())
    async with aclosing(feed.watch()) as events:
        await next_requests(events)
        async with asyncio.timeout(5):
            assert (await anext(events)).startswith(b":")


async def test_nobody_looks_when_nobody_watches() -> None:
    ledger = Ledger()
    feed = feed_of(ledger)
    async with aclosing(feed.watch()) as events:
        await next_requests(events)
    await asyncio.sleep(0.1)
    looks = ledger.looks
    await asyncio.sleep(0.1)
    assert ledger.looks == looks
    ledger.latest = b'["later"]'
    async with aclosing(feed.watch()) as events:
        assert await next_requests(events) == b'["later"]'


async def test_a_database_that_comes_back_is_looked_at_again() -> None:
    ledger = Ledger()
    ledger.is_away = True
    feed = feed_of(ledger)
    async with aclosing(feed.watch()) as events:
        await anext(events)
        waiting = asyncio.create_task(next_requests(events))
        await asyncio.sleep(0.05)
        ledger.is_away = False
        assert await waiting == b'["a"]'


async def test_it_ends_with_the_server() -> None:
    ending = asyncio.Event()
    feed = feed_of(Ledger(), ending)
    async with aclosing(feed.watch()) as events:
        await next_requests(events)
        ending.set()
        async with asyncio.timeout(5):
            assert [event async for event in events] == []
