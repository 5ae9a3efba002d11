"""Figures that many ask for are computed once."""

import asyncio
import threading
import time

import pytest

from gateway.api.dashboard.shared import Shared


class Slow:
    """Computes in a while, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.threads: set[int] = set()
        self.fails = False

    def __call__(self, key: str) -> bytes:
        self.asked.append(key)
        self.threads.add(threading.get_ident())
        time.sleep(0.02)
        if self.fails:
            raise OSError("no disk")
        return f"{key} {len(self.asked)}".encode()


async def test_all_who_ask_at_once_get_one_answer_from_another_thread() -> None:
    slow = Slow()
    shared: Shared[str] = Shared(slow)
    answers = await asyncio.gather(*(shared.get("7d") for _ in range(50)))
    assert set(answers) == {b"7d 1"}
    assert await shared.get("7d") == b"7d 1"
    assert await shared.get("24h") == b"24h 2"
    assert threading.get_ident() not in slow.threads


async def test_an_answer_grows_old() -> None:
    shared: Shared[str] = Shared(Slow(), fresh_for_s=0)
    assert await shared.get("7d") == b"7d 1"
    assert await shared.get("7d") == b"7d 2"


async def test_whoever_leaves_takes_nobodys_answer_along() -> None:
    shared: Shared[str] = Shared(Slow())
    first = asyncio.create_task(shared.get("7d"))
    second = asyncio.create_task(shared.get("7d"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == b"7d 1"


async def test_a_failure_is_everybodys_and_isnt_kept() -> None:
    slow = Slow()
    shared: Shared[str] = Shared(slow)
    slow.fails = True
    failed = await asyncio.gather(*(shared.get("7d") for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in failed] == [OSError] * 3
    assert len(slow.asked) == 1
    slow.fails = False
    assert await shared.get("7d") == b"7d 2"


@pytest.mark.parametrize("viewers", [1, 3])
async def test_nothing_is_left_behind_when_all_leave_while_it_fails(viewers: int) -> None:
    slow = Slow()
    slow.fails = True
    shared: Shared[str] = Shared(slow)
    tasks = [asyncio.create_task(shared.get("7d")) for _ in range(viewers)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.sleep(0.1)
    slow.fails = False
    assert await shared.get("7d") == b"7d 2"
