"""The way to Redis and back: a stream a topic, written and read in the background.

Nobody waits for Redis. While it is away events queue up to a bound, and each process goes on with
what it knows; afterwards, as at the start, everything that Redis keeps is read. Times travel on
Redis's clock, so those of the machines need not agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import orjson

from gateway.sharing.topic import Topic

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: An idle reader looks up after this; a connection that is silent for longer is dead.
_BLOCK_MS = 2_000
_SILENT_S = 5.0
_CONNECT_S = 2.0
#: Messages read at a time: a process that starts must not hold its event loop up.
_READ_AT_ONCE = 20
#: News of this long go out together.
_GATHER_S = 0.02
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.1, 2.0
#: How long a start waits for what others know, and an end for the last news to go out.
_START_WITHIN_S, _STOP_WITHIN_S = 1.0, 0.5

_log = logging.getLogger("gateway.sharing")


class EventBus:
    """Tells this process's events to all others at the same Redis, and theirs to its topics."""

    def __init__(
        self, url: str, prefix: str, topics: Sequence[Topic], connected: Callable[[], None]
    ) -> None:
        """`connected` is called each time that everything kept has been read.

        Raises ModuleNotFoundError without the package redis, ValueError for no address of a Redis.
        """
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        #: This process, among all that share.
        self.sender = secrets.token_hex(8)
        #: Why Redis can't be reached, without its address; None while it can.
        self.problem: str | None = "it hasn't been reached yet"
        self._topics = {f"{prefix}:{topic.name}": topic for topic in topics}
        self._connected = connected
        self._news = asyncio.Event()
        self._told = asyncio.Event()
        self._told.set()
        self._tried = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._ahead_s = 0.0
        self._backoff_s = _FIRST_BACKOFF_S
        self._client: Redis = Redis.from_url(
            url,
            socket_connect_timeout=_CONNECT_S,
            # Its own timeout goes through wait_for, which loses cancellations before Python 3.12.
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),  # this class tries again itself
        )
        for topic in topics:
            topic.wake = self._wake

    async def start(self) -> None:
        """Begin; returns once what the others know is known, or Redis is away or slow."""
        self._running = asyncio.create_task(self._run(), name="sharing")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_WITHIN_S):
                await self._tried.wait()

    async def stop(self) -> None:
        """Tell the last news, if that is quickly done, and end."""
        if self._running is None:
            return
        if self.problem is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_WITHIN_S):
                    await self._told.wait()
        self._running.cancel()
        await asyncio.wait([self._running])
        await self._client.aclose()

    def _wake(self) -> None:
        self._told.clear()
        self._news.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._ask_time()
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._read())
                    both.create_task(self._write())
            except Exception as error:
                self._lost(_first(error))
            with contextlib.suppress(Exception):
                await self._client.connection_pool.disconnect()
            await asyncio.sleep(self._backoff_s * random.uniform(0.5, 1))  # noqa: S311 (jitter)
            self._backoff_s = min(self._backoff_s * 2, _LONGEST_BACKOFF_S)

    async def _ask_time(self) -> None:
        """How far Redis's clock is ahead of this process's."""
        before_s = time.monotonic()
        async with asyncio.timeout(_SILENT_S):
            seconds, microseconds = await self._client.time()
        middle_s = (before_s + time.monotonic()) / 2
        self._ahead_s = seconds + microseconds / 1e6 - middle_s

    async def _read(self) -> None:
        now_s = self._now_s()
        positions: dict[str, str] = {}
        for key, topic in self._topics.items():
            topic.begin_again()
            positions[key] = f"{int((now_s - topic.keep_s) * 1000)}-0"
        is_behind = True
        while True:
            block = None if is_behind else _BLOCK_MS
            async with asyncio.timeout(_SILENT_S):
                found = await self._client.xread(positions, count=_READ_AT_ONCE, block=block)  # type: ignore[arg-type]
            for key, entries in found:
                name = key.decode()
                for entry_id, fields in entries:
                    self._take(self._topics[name], entry_id.decode(), fields)
                positions[name] = entries[-1][0].decode()
            if is_behind and not found:
                is_behind = False
                self._reached()

    def _take(self, topic: Topic, entry_id: str, fields: dict[bytes, bytes]) -> None:
        try:
            sender = fields[b"from"].decode()
            topic.read(entry_id, fields[b"events"], sender, self.sender, self._now_s())
        except (KeyError, ValueError, TypeError) as error:
            _log.debug("an event in Redis is left alone: %s", type(error).__name__)

    async def _write(self) -> None:
        self._news.set()
        while True:
            await self._news.wait()
            self._news.clear()
            for key, topic in self._topics.items():
                while topic.has_news:
                    await self._send(key, topic)
            if not self._news.is_set():
                self._told.set()
            await asyncio.sleep(_GATHER_S)

    async def _send(self, key: str, topic: Topic) -> None:
        batch = topic.next_batch()
        events = [[round(at_s + self._ahead_s, 3), *body] for at_s, body in batch]
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xadd(
            key,
            {"from": self.sender, "events": orjson.dumps(events)},
            minid=topic.oldest_kept(self._now_s()),
        )
        pipeline.expire(key, int(topic.keep_s) + 60)
        try:
            async with asyncio.timeout(_SILENT_S):
                await pipeline.execute()
        except BaseException:
            topic.put_back(batch)
            raise

    def _now_s(self) -> float:
        return time.monotonic() + self._ahead_s

    def _reached(self) -> None:
        if self._tried.is_set():
            _log.warning("Redis is reached again")
        self.problem = None
        self._backoff_s = _FIRST_BACKOFF_S
        self._connected()
        self._tried.set()

    def _lost(self, error: Exception) -> None:
        """Say so once, without the address, which may hold a password."""
        from redis.exceptions import RedisError

        if not isinstance(error, RedisError | OSError):
            _log.error("sharing through Redis failed", exc_info=error)
        why = type(_root(error)).__name__
        if self.problem is None or not self._tried.is_set():
            _log.warning(
                "Redis can't be reached (%s): this process goes on with what it knows itself",
                why,
            )
        self.problem = f"Redis can't be reached ({why})"
        self._tried.set()


def _first(error: Exception) -> Exception:
    """The failure itself, out of the group of tasks that it ended."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _root(error: BaseException) -> BaseException:
    """What it began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
