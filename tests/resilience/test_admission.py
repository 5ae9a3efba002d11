"""Places: bounded, in turn, and never lost."""

import asyncio

import pytest

from gateway.resilience.admission import Full, Slots


async def test_as_many_as_there_are_and_then_in_turn() -> None:
    slots = Slots(2, 10, wait_s=5)
    assert slots.take_now()
    assert slots.take_now()
    assert not slots.take_now()
    order: list[int] = []

    async def wait(number: int) -> None:
        await slots.take()
        order.append(number)

    waiting = []
    for number in range(3):
        waiting.append(asyncio.create_task(wait(number)))
        await asyncio.sleep(0)
    assert slots.waiting == 3
    slots.free()
    assert not slots.take_now()  # who waits comes first
    await asyncio.sleep(0)
    slots.free()
    slots.free()
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]
    assert slots.used == 2


async def test_no_more_may_wait_than_there_is_room_for() -> None:
    slots = Slots(1, 1, wait_s=5)
    assert slots.take_now()
    waiting = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    with pytest.raises(Full):
        await slots.take()
    slots.free()
    await waiting


async def test_a_wait_ends() -> None:
    slots = Slots(1, 1, wait_s=0.05)
    assert slots.take_now()
    with pytest.raises(Full):
        await slots.take()
    assert slots.waiting == 0
    slots.free()
    assert slots.used == 0


async def test_who_leaves_takes_no_place_along() -> None:
    slots = Slots(1, 5, wait_s=5)
    assert slots.take_now()
    leaving = asyncio.create_task(slots.take())
    staying = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    slots.free()  # the place is handed over …
    leaving.cancel()  # … to somebody who leaves in the same moment
    await asyncio.wait_for(staying, 1)
    with pytest.raises(asyncio.CancelledError):
        await leaving
    slots.free()
    assert slots.used == 0
    assert slots.take_now()


async def test_without_a_limit_everybody_gets_one() -> None:
    slots = Slots(None, 0, wait_s=1)
    assert all(slots.take_now() for _ in range(1000))
    assert slots.used == 1000


async def test_a_thousand_at_once_lose_nothing() -> None:
    slots = Slots(7, 1000, wait_s=30)
    most = 0

    async def work() -> None:
        nonlocal most
        if not slots.take_now():
            await slots.take()
        most = max(most, slots.used)
        await asyncio.sleep(0)
        slots.free()

    await asyncio.gather(*(work() for _ in range(1000)))
    assert most == 7
    assert slots.used == slots.waiting == 0


async def test_who_leaves_as_a_place_gets_free_leaves_nothing_behind() -> None:
    slots = Slots(1, 5, wait_s=5)
    assert slots.take_now()
    leaving = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    leaving.cancel()
    slots.free()  # before the one that leaves has run
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (slots.used, slots.waiting) == (0, 0)
