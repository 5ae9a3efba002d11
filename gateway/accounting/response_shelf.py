"""The stored responses as the event loop asks for them: never waiting long, on threads apart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from gateway.accounting.responses import CONNECTIONS, KeptResponse, ResponseStore
from gateway.core.errors import LedgerUnavailable

P = ParamSpec("P")
T = TypeVar("T")

ANSWERED_WITHIN_S = 6.0  # longer than a transaction waits for another one's end
#: After a failure answers go out unstored for so long, instead of each waiting for the database.
RESTS_S = 5.0

_log = logging.getLogger("gateway.responses")


class ResponseShelf:
    """Keeps responses and gives them back. All but `keep` raise LedgerUnavailable."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="responses")
        self._rests_until_s = 0.0
        self._is_away = False

    async def keep(self, kept: KeptResponse) -> bool:
        """Keep one response; whether that worked. A failure is logged once until it is over."""
        if time.monotonic() < self._rests_until_s:
            return False
        try:
            await self._called(self._store.add, kept)
        except LedgerUnavailable as error:
            self._rests_until_s = time.monotonic() + RESTS_S
            if not self._is_away:
                _log.error("responses go out unstored: %s", error.message)
            self._is_away = True
            return False
        self._is_away = False
        return True

    async def find(self, response_id: str, key_id: str | None) -> KeptResponse:
        """One response. Raises ResponseNotFound."""
        return await self._called(self._store.find, response_id, key_id)

    async def conversation(self, response_id: str, key_id: str | None) -> list[dict[str, Any]]:
        """All items up to a response. Raises InvalidRequest where they aren't all kept."""
        return await self._called(self._store.conversation, response_id, key_id)

    async def delete(self, response_id: str, key_id: str | None) -> None:
        """Forget one response. Raises ResponseNotFound."""
        await self._called(self._store.delete, response_id, key_id)

    def close(self) -> None:
        """Close the database; what is being written may still end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._store.close()

    async def _called(self, function: Callable[P, T], /, *args: P.args, **_: P.kwargs) -> T:
        call = asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        try:
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                return await call
        except TimeoutError:
            raise LedgerUnavailable("The database of responses doesn't answer.") from None
