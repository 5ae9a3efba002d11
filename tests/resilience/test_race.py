"""The first to succeed wins, and nothing runs on."""

import asyncio

import pytest

from gateway.resilience.race import Race


async def after(seconds: float, result: str, ended: list[str]) -> str:
    try:
        await asyncio.sleep(seconds)
        if result == "fails":
            raise ValueError(result)
        return result
    finally:
        ended.append(result)


async def test_the_quicker_one_wins_and_the_other_is_ended() -> None:
    ended: list[str] = []
    async with Race[str, str]() as race:
        race.enter("slow", after(30, "late", ended))
        assert not await race.is_over(0.01)
        race.enter("quick", after(0.01, "early", ended))
        assert await race.winner() == ("quick", "early")
        assert race.others("quick") == ["slow"]
    assert ended == ["early", "late"]


async def test_one_that_fails_leaves_it_to_the_other() -> None:
    ended: list[str] = []
    async with Race[str, str]() as race:
        race.enter("first", after(0, "fails", ended))
        race.enter("second", after(0.02, "well", ended))
        assert await race.winner() == ("second", "well")


async def test_where_all_fail_it_is_the_firsts_failure() -> None:
    with pytest.raises(ValueError, match="fails"):
        async with Race[str, str]() as race:
            race.enter("first", after(0.01, "fails", []))
            race.enter("second", after(0, "fails", []))
            await race.winner()


async def test_whoever_waits_may_leave() -> None:
    ended: list[str] = []

    async def wait() -> None:
        async with Race[str, str]() as race:
            race.enter("a", after(30, "a", ended))
            race.enter("b", after(30, "b", ended))
            await race.winner()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert sorted(ended) == ["a", "b"]
