"""The event loop never waits long for stored responses."""

import logging
import threading
from pathlib import Path

import pytest

from gateway.accounting import response_shelf
from gateway.accounting.response_shelf import ResponseShelf
from gateway.accounting.responses import KeptResponse, ResponseStore
from gateway.core.errors import LedgerUnavailable, ResponseNotFound

KEPT = KeptResponse(f"resp_{1:032x}", "k", None, "[]", '{"output":[]}')


async def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    shelf = ResponseShelf(ResponseStore(f"sqlite:///{tmp_path}/ledger.db"))
    assert await shelf.keep(KEPT)
    assert await shelf.find(KEPT.response_id, "k") == KEPT
    assert await shelf.conversation(KEPT.response_id, "k") == []
    await shelf.delete(KEPT.response_id, "k")
    with pytest.raises(ResponseNotFound):
        await shelf.find(KEPT.response_id, "k")
    shelf.close()


async def test_a_failure_is_logged_once_until_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR, "gateway.responses")
    folder = tmp_path / "later"
    shelf = ResponseShelf(ResponseStore(f"sqlite:///{folder}/ledger.db"))
    assert not await shelf.keep(KEPT)
    folder.mkdir()
    assert not await shelf.keep(KEPT)  # it rests
    assert len(caplog.records) == 1
    monkeypatch.setattr(response_shelf, "RESTS_S", 0.0)
    shelf._rests_until_s = 0.0
    assert await shelf.keep(KEPT)
    assert await shelf.find(KEPT.response_id, "k") == KEPT
    shelf.close()


class _Stuck(ResponseStore):
    def __init__(self, released: threading.Event) -> None:
        super().__init__("sqlite:///unused.db")
        self._released = released

    def add(self, kept: KeptResponse) -> None:
        self._released.wait(10)

    def delete(self, response_id: str, key_id: str | None) -> None:
        self._released.wait(10)


async def test_a_database_that_doesn_t_answer_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(response_shelf, "ANSWERED_WITHIN_S", 0.05)
    released = threading.Event()
    shelf = ResponseShelf(_Stuck(released))
    try:
        assert not await shelf.keep(KEPT)
        with pytest.raises(LedgerUnavailable):
            await shelf.delete(KEPT.response_id, "k")
    finally:
        released.set()
        shelf.close()
