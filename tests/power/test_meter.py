"""What answers are told of the looks at a counter."""

import time
from collections.abc import Iterator

import pytest

from gateway.core.energy import Reading
from gateway.power.meter import PowerMeter

FOR_EVER = 1e9


class Counted:
    """A counter that says what it is given, then fails."""

    name = "rapl"

    def __init__(self, *watts: float | None) -> None:
        self._watts: Iterator[float | None] = iter(watts)

    def watts(self) -> float | None:
        try:
            return next(self._watts)
        except StopIteration:
            raise OSError("gone") from None


def test_until_the_first_look_nothing_is_known() -> None:
    meter = PowerMeter(Counted(None))
    assert meter.reading(1.0, 1.0) is None
    meter.look()
    assert meter.reading(1.0, 1.0) is None


def test_an_answer_takes_the_watts_of_its_time_times_its_part_of_it() -> None:
    meter = PowerMeter(Counted(10.0, None, 30.0))
    meter.look()
    after_first_s = time.monotonic()
    assert meter.reading(360.0, time.monotonic() - after_first_s) == Reading(1.0, "rapl")
    meter.look()
    time.sleep(0.01)
    meter.look()
    newest = meter.reading(360.0, time.monotonic() - after_first_s)
    assert newest is not None
    assert newest.wh == pytest.approx(3.0)
    whole = meter.reading(360.0, FOR_EVER)
    assert whole is not None
    assert 1.0 < whole.wh < 3.0


def test_a_meter_that_fails_tells_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    meter = PowerMeter(Counted(10.0))
    meter.look()
    assert meter.reading(360.0, FOR_EVER) is not None
    meter.start()
    deadline_s = time.monotonic() + 10
    while meter.reading(360.0, FOR_EVER) is not None:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    assert "rapl can't be read any more: gone" in caplog.text
