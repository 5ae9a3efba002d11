from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.access import PERIODS, Period, VirtualKey, period_end, period_start

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(MOMENTS, st.sampled_from(PERIODS))
def test_a_moment_is_in_its_period_and_the_end_begins_the_next(
    at: datetime, period: Period
) -> None:
    start, end = period_start(period, at), period_end(period, at)
    if period == "total":
        assert start is end is None
        return
    assert start is not None
    assert end is not None
    assert start <= at.date() < end.date()
    assert period_start(period, end) == end.date()
    assert period_start(period, end - timedelta(microseconds=1)) == start


def test_weeks_begin_on_monday() -> None:
    assert period_start("week", datetime(2026, 11, 29, tzinfo=UTC)) == datetime(2026, 11, 23).date()


def test_without_models_all_may_be_asked_for() -> None:
    assert VirtualKey("vk_1", "any").allows(["x"])
    narrow = VirtualKey("vk_1", "narrow", models=frozenset({"auto"}))
    assert narrow.allows(["x", "auto"])
    assert not narrow.allows(["x"])
