"""Events go through a real Redis, which is started late, stopped, emptied and refused."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.sharing import topic as topics
from gateway.sharing.bus import EventBus
from gateway.sharing.topic import Event, Topic
from tests.servers.redis import RedisServer, own_redis


class Member:
    """One process's end of the bus."""

    def __init__(self, url: str, prefix: str, *, keep_s: float = 60, most: int = 1000) -> None:
        self.taken: list[Event] = []
        self.connections = 0
        self.topic = Topic("news", keep_s=keep_s, most=most, take=self.taken.append)
        self.bus = EventBus(url, prefix, [self.topic], self._connected)

    def _connected(self) -> None:
        self.connections += 1

    @property
    def bodies(self) -> list[list[Any]]:
        return [list(event.body) for event in self.taken]


@asynccontextmanager
async def joined(*members: Member) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for member in members:
            await member.bus.start()
            stack.push_async_callback(member.bus.stop)
        yield


async def until(condition: Callable[[], bool], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def url(redis_socket: Path) -> str:
    return f"unix://{redis_socket}"


@pytest.fixture
def stopped_redis() -> Iterator[RedisServer]:
    with own_redis() as server:
        yield server


async def test_every_member_but_the_sender_takes_what_is_told(url: str, prefix: str) -> None:
    one, two, three = (Member(url, prefix) for _ in range(3))
    stranger = Member(url, prefix + "-other")
    async with joined(one, two, three, stranger):
        for number in range(500):
            one.topic.tell(["n", number])
        await until(lambda: len(two.taken) == len(three.taken) == 500)
        two.topic.tell(["back"])
        await until(lambda: one.bodies == [["back"]])
    assert two.bodies == [["n", number] for number in range(500)]
    assert {event.sender for event in two.taken} == {one.bus.sender}
    assert all(0 <= event.age_s < 5 for event in two.taken)
    assert stranger.taken == []


async def test_who_starts_later_knows_what_the_others_know(url: str, prefix: str) -> None:
    early, late = Member(url, prefix), Member(url, prefix)
    async with joined(early):
        early.topic.tell(["old"], age_s=120)
        early.topic.tell(["a while ago"], age_s=30)
        early.topic.tell(["now"])
    async with joined(late):
        assert late.bodies == [["a while ago"], ["now"]]  # known before the start has ended
        assert late.taken[0].age_s == pytest.approx(30, abs=5)


async def test_what_redis_keeps_is_bounded(url: str, prefix: str) -> None:
    chatty = Member(url, prefix, most=50)
    async with joined(chatty):
        for number in range(400):
            chatty.topic.tell([number])
            await asyncio.sleep(0.001)
            if number % 20 == 0:
                await asyncio.sleep(0.03)
        await until(lambda: not chatty.topic.has_news)
    with redis.Redis.from_url(url) as client:
        key = f"{prefix}:news"
        assert 60 < client.ttl(key) <= 120
        # Redis trims whole nodes of a hundred messages.
        assert client.xlen(key) <= 200


async def test_a_redis_that_is_away_is_waited_for_by_nobody(
    stopped_redis: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = Member(stopped_redis.url, prefix), Member(stopped_redis.url, prefix)
    with caplog.at_level(logging.WARNING, "gateway.sharing"):
        async with joined(one, two):
            assert one.bus.problem is not None
            one.topic.tell(["while away"])
            await asyncio.sleep(0.5)
            stopped_redis.start()
            await until(lambda: two.bodies == [["while away"]])
            assert one.bus.problem is two.bus.problem is None
            stopped_redis.stop()
            await until(lambda: one.bus.problem is not None)
            one.topic.tell(["while away again"])
            stopped_redis.start()  # it has lost everything
            await until(lambda: ["while away again"] in two.bodies)
            await until(lambda: one.connections == two.connections == 2)
    warned = [record.message for record in caplog.records]
    assert len([text for text in warned if "can't be reached" in text]) == 4  # each, each time
    assert len([text for text in warned if "is reached again" in text]) == 4
    assert not any(stopped_redis.url in text for text in warned)


async def test_events_beyond_the_bound_are_forgotten_oldest_first(
    stopped_redis: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "MOST_WAITING", 300)
    one, two = Member(stopped_redis.url, prefix), Member(stopped_redis.url, prefix)
    async with joined(one, two):
        for number in range(1000):
            one.topic.tell([number])
        stopped_redis.start()
        await until(lambda: len(two.taken) == 300)
    assert two.bodies == [[number] for number in range(700, 1000)]


async def test_what_others_write_there_harms_nobody(url: str, prefix: str) -> None:
    member, sender = Member(url, prefix), Member(url, prefix)
    with redis.Redis.from_url(url) as client:
        for fields in (
            {"x": "y"},
            {"from": "a", "events": "no json"},
            {"from": "a", "events": "7"},
            {"from": "a", "events": "[7]"},
            {"from": "a", "events": '[["when?", 1]]'},
            {"from": b"\xff", "events": "[]"},
        ):
            client.xadd(f"{prefix}:news", fields)
    async with joined(member, sender):
        sender.topic.tell(["fine"])
        await until(lambda: member.bodies == [["fine"]])


async def test_a_wrong_password_is_told_and_never_shown(
    url: str, prefix: str, redis_socket: Path, caplog: pytest.LogCaptureFixture
) -> None:
    member = Member(f"unix://nobody:hunter2@{redis_socket}", prefix)
    async with joined(member):
        assert member.bus.problem == "Redis can't be reached (AuthenticationError)"
    assert "hunter2" not in caplog.text
