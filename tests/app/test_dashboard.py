from datetime import UTC, datetime, timedelta

import pytest

from gateway.api.dashboard.routes import Span
from gateway.app.dashboard import interval_of

NOW = datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize(("span", "days"), [("24h", 1), ("7d", 7), ("30d", 30), ("90d", 90)])
def test_a_span_is_whole_steps_up_to_the_current_ones_end(span: Span, days: int) -> None:
    found = interval_of(span, NOW)
    assert found.until - found.since == timedelta(days=days)
    assert found.until - timedelta(**{f"{found.step}s": 1}) <= NOW < found.until
    assert found.step == ("hour" if span == "24h" else "day")
    assert (found.since.minute, found.since.second, found.since.microsecond) == (0, 0, 0)
