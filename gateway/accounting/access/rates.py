"""Requests and tokens a minute of virtual keys: counted in Redis for all gateways, or here."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.core.access import Rates, VirtualKey
from gateway.core.errors import RateLimited

if TYPE_CHECKING:  # the library is loaded when the first key needs it
    from limits.aio.storage import MemoryStorage, RedisStorage
    from limits.aio.strategies import MovingWindowRateLimiter
    from redis.asyncio import BlockingConnectionPool

T = TypeVar("T")

WINDOW_S = 60
#: A Redis that doesn't answer in time is left alone for a while.
REDIS_WITHIN_S = 0.25
REDIS_RESTS_S = 5.0
CONNECTIONS = 50

_log = logging.getLogger("gateway.keys")


@dataclass(slots=True, frozen=True)
class Standing:
    """One of a key's two limits: whether it was kept, what is left, and when more will be."""

    kept: bool
    limit: int
    remaining: int
    reset_s: float


class _Counters:
    """The counts of one storage."""

    def __init__(self, storage: MemoryStorage | RedisStorage) -> None:
        from limits.aio.strategies import MovingWindowRateLimiter

        self._storage = storage
        self._window: MovingWindowRateLimiter = MovingWindowRateLimiter(storage)

    async def request(self, key_id: str, limit: int) -> Standing:
        """Count a request, unless there were too many in the last minute."""
        from limits import RateLimitItemPerMinute

        item = RateLimitItemPerMinute(limit)
        kept = await self._window.hit(item, "requests", key_id)
        reset_s, remaining = await self._window.get_window_stats(item, "requests", key_id)
        return Standing(kept, limit, max(0, remaining), max(0.0, reset_s - time.time()))

    async def tokens(self, key_id: str, limit: int, tokens: int) -> Standing:
        """Count tokens, unless they would be too many for a minute.

        The minute before counts by the part of it that is less than a minute ago.
        """
        now_s = wall_clock_s()
        minute, elapsed_s = divmod(now_s, WINDOW_S)
        left_s = WINDOW_S - elapsed_s
        before = max(0, await self._storage.get(_minute_key(key_id, minute - 1)))
        current = await self._storage.incr(_minute_key(key_id, minute), 2 * WINDOW_S, tokens)
        used = math.ceil(before * left_s / WINDOW_S) + current
        if used <= limit:
            return Standing(
                kept=True, limit=limit, remaining=min(limit, limit - used), reset_s=left_s
            )
        await self.add_tokens(key_id, -tokens, now_s)
        # What is left of the minute before goes by; or all of it, and a part of this one.
        room = limit - current
        wait_s = left_s if room < 0 or not before else left_s - WINDOW_S * room / before
        remaining = max(0, min(limit, limit - used + tokens))
        return Standing(kept=False, limit=limit, remaining=remaining, reset_s=max(1.0, wait_s))

    async def add_tokens(self, key_id: str, tokens: int, now_s: float | None = None) -> None:
        """Count tokens, whatever the limit is."""
        minute = (wall_clock_s() if now_s is None else now_s) // WINDOW_S
        await self._storage.incr(_minute_key(key_id, minute), 2 * WINDOW_S, tokens)


class RateLimits:
    """Holds keys to their rates; while a Redis is away, each process counts for itself."""

    def __init__(self, redis_url: str | None = None, prefix: str = "slm-gateway") -> None:
        self._redis_url = redis_url
        self._prefix = prefix
        self._own: _Counters | None = None
        self._shared: _Counters | None = None
        self._pool: BlockingConnectionPool | None = None
        self._loading = asyncio.Lock()
        self._rests_until_s = 0.0
        self._is_away = False
        self._corrections: set[asyncio.Task[None]] = set()

    async def admit(self, key: VirtualKey, tokens: int | None) -> Rates:
        """Count a request of a key, and the tokens that it may take; None asks for no tokens."""
        await self._load()
        headers: list[tuple[bytes, bytes]] = []
        requests: Standing | None = None
        if key.rpm is not None:
            rpm = key.rpm
            requests = await self._counted(lambda to: to.request(key.key_id, rpm))
            headers += _headers(b"requests", requests)
            if not requests.kept:
                return Rates(tuple(headers), _refusal(key, "requests", requests))
        if key.tpm is not None and tokens is not None:
            tpm = key.tpm
            standing = await self._counted(lambda to: to.tokens(key.key_id, tpm, tokens))
            headers += _headers(b"tokens", standing)
            if not standing.kept:
                return Rates(tuple(headers), _refusal(key, "tokens", standing, tokens))
        return Rates(tuple(headers))

    def correct(self, key: VirtualKey, tokens: int) -> None:
        """Count tokens that were more (or fewer, below 0) than was thought; returns at once."""
        task = asyncio.create_task(self.corrected(key, tokens))
        self._corrections.add(task)
        task.add_done_callback(self._corrections.discard)

    async def corrected(self, key: VirtualKey, tokens: int) -> None:
        """The same, once it is done."""
        await self._counted(lambda to: to.add_tokens(key.key_id, tokens))

    async def close(self) -> None:
        """Close what is open."""
        for task in tuple(self._corrections):
            await asyncio.wait([task])
        if self._pool is not None:
            await self._pool.aclose()

    async def _load(self) -> None:
        if self._own is None:
            async with self._loading:
                if self._own is None:
                    await asyncio.to_thread(_import_library)
                    self._open()

    def _open(self) -> None:
        from limits.aio.storage import MemoryStorage, RedisStorage

        self._own = _Counters(MemoryStorage())
        if self._redis_url is None:
            return
        from redis.asyncio import BlockingConnectionPool

        self._pool = BlockingConnectionPool.from_url(
            self._redis_url,
            max_connections=CONNECTIONS,
            timeout=REDIS_WITHIN_S,
            socket_timeout=REDIS_WITHIN_S,
            socket_connect_timeout=REDIS_WITHIN_S,
        )
        options: dict[str, Any] = {"connection_pool": self._pool}
        storage = RedisStorage(
            "async+redis://",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix=f"{self._prefix}:rates",
            **options,
        )
        self._shared = _Counters(storage)

    async def _counted(self, count: Callable[[_Counters], Awaitable[T]]) -> T:
        """Count in Redis if there is one that answers, else here."""
        assert self._own is not None  # noqa: S101 (`admit` has loaded it)
        if self._shared is None or time.monotonic() < self._rests_until_s:
            return await count(self._own)
        from limits.errors import StorageError

        try:
            async with asyncio.timeout(2 * REDIS_WITHIN_S):
                found = await count(self._shared)
        except (StorageError, OSError) as error:  # TimeoutError is an OSError
            self._rests_until_s = time.monotonic() + REDIS_RESTS_S
            if not self._is_away:
                reason = type(getattr(error, "storage_error", error)).__name__
                _log.warning("Redis is away (%s): each process counts rates for itself", reason)
            self._is_away = True
            return await count(self._own)
        if self._is_away:
            self._is_away = False
            _log.warning("Redis is back: rates are counted there again")
        return found


def wall_clock_s() -> float:
    """Seconds since the epoch, in which all gateways agree."""
    return time.time()


def _import_library() -> None:
    import limits.aio.strategies  # noqa: F401 (it takes a while, so a thread does it)


def _minute_key(key_id: str, minute: float) -> str:
    return f"tokens/{key_id}/{minute:.0f}"


def _headers(kind: bytes, standing: Standing) -> list[tuple[bytes, bytes]]:
    """OpenAI's headers of one limit."""
    return [
        (b"x-ratelimit-limit-" + kind, b"%d" % standing.limit),
        (b"x-ratelimit-remaining-" + kind, b"%d" % standing.remaining),
        (b"x-ratelimit-reset-" + kind, b"%.3fs" % standing.reset_s),
    ]


def _refusal(key: VirtualKey, kind: Any, standing: Standing, tokens: int = 0) -> RateLimited:
    limit = f"{standing.limit:,} {kind} a minute"
    if tokens > standing.limit:
        error = RateLimited(
            f"The request may take {tokens:,} tokens, and the key '{key.name}' has {limit}. "
            "Shorten it, or lower max_tokens.",
            kind=kind,
            retry_after_s=WINDOW_S,
        )
        error.exhausted = True  # it will never fit
        return error
    return RateLimited(
        f"The key '{key.name}' has reached its rate limit of {limit}. "
        f"Try again in {standing.reset_s:.1f} s.",
        kind=kind,
        retry_after_s=standing.reset_s,
    )
