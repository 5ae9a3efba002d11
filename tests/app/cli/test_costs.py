"""What `costs` prints, over a ledger that a real writer filled."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer

from gateway.accounting.database import open_for_writing
from gateway.accounting.writing import delete_before
from gateway.app.cli.costs import CostsReport, moment, render_costs, tag_filter
from gateway.core.deployment import Deployment, Tier
from gateway.core.price import UNPRICED, Cost, Price
from gateway.core.usage import Usage
from tests.accounting.ledger_entries import NOON, entry, record

LARGE = Deployment(
    "gpt-4o", Tier.LARGE, "openai", "gpt-4o", price=Price("p", Decimal("2.5"), Decimal(10))
)


SMALL = {"tier": "small", "deployment": "smollm2"}
USAGE = Usage(1000, 100)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small and a large answer: 0.0000005 USD, and 0.0035 USD at the large price."""
    address = f"sqlite:///{tmp_path_factory.mktemp('costs')}/ledger.db"
    small, large = (Cost(Decimal(usd), "computed", "p") for usd in ("0.0000005", "0.0035"))
    tags = {"team": "[red]x\x1b[2J"}
    record(
        address,
        entry(request_id="r1", usage=USAGE, cost=small, tags=tags, **SMALL),
        entry(request_id="r2", usage=USAGE, cost=large, ts=NOON + timedelta(hours=1)),
    )
    return address


def printed(capsys: pytest.CaptureFixture[str], url: str, **report: Any) -> str:
    render_costs(url, [LARGE], CostsReport(**report))
    return capsys.readouterr().out


def test_the_table_shows_the_latest_calls_and_what_was_saved(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, url).splitlines()
    (small,) = [line for line in lines if "smollm2" in line]
    (large,) = [line for line in lines if "gpt-4o" in line]
    assert lines.index(large) < lines.index(small)
    assert "<$0.000001" in small
    assert "1,000" in large
    assert lines[-1] == "Total $0.003500 for 2 chats. All-large: $0.007000. Saved 50.0%."


def test_energy_and_gas_are_shown_in_thousandths_and_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"sqlite:///{tmp_path}/ledger.db"
    figures = {"energy_wh": 0.0015, "co2_g": 0.000687}
    record(
        address,
        entry(deployment="guess", energy_source="estimated:power", **figures),
        entry(deployment="meter", energy_source="measured:rapl", **figures),
        entry(deployment="nobody"),
    )
    lines = printed(capsys, address).splitlines()
    shown = {
        name: [cell.strip() for cell in line.split("│")[-4:-2]]
        for name in ("guess", "meter", "nobody")
        for line in lines
        if f" {name} " in line
    }
    assert shown == {
        "guess": ["~1.5", "~0.687"],
        "meter": ["1.5", "0.687"],
        "nobody": ["–", "–"],
    }
    by_tier = printed(capsys, address, by="tier").splitlines()
    (large,) = [line for line in by_tier if "│ large" in line]
    assert [cell.strip() for cell in large.split("│")[-3:-1]] == ["0.003", "0.00137"]
    (sums,) = csv.DictReader(io.StringIO(printed(capsys, address, by="tier", format="csv")))
    assert (sums["energy_wh"], sums["co2_g"]) == ("0.003", "0.001374")
    rows = json.loads(printed(capsys, address, format="json"))
    assert [row["co2_g"] for row in rows if row["deployment"] == "guess"] == [0.000687]


def test_groups_show_their_share(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, url, by="tier")
    (large,) = [line for line in text.splitlines() if "large " in line]
    assert "100.0%" in large
    assert "Saved 50.0%" in text


@pytest.mark.parametrize("by", ["model", "tag"])
def test_sums_of_more_than_chats_are_whole_until_rows_are_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    address = f"sqlite:///{tmp_path}/g.db"
    tagged = {"tags": {"team": "a"}, "ts": NOON}
    record(address, entry(**tagged), entry(endpoint="/v1/embeddings", **tagged))
    shown = printed(capsys, address, by=by)
    assert "Older rows" not in shown
    assert "100.0%" in shown
    engine = open_for_writing(address, durable=False)
    delete_before(engine, NOON + timedelta(days=1), 1000)
    engine.dispose()
    record(address, entry(**tagged | {"ts": NOON + timedelta(days=2)}))
    assert "Older rows are deleted" in printed(capsys, address, by=by)


def test_a_tag_cannot_write_to_the_terminal(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, url, by="tag")
    assert "\x1b" not in text
    assert "[red]x" in text


def test_json_is_an_array_of_exact_rows(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(printed(capsys, url, format="json"))
    assert [(row["request_id"], row["cost_usd"]) for row in rows] == [
        ("r2", "0.0035"),
        ("r1", "0.0000005"),
    ]
    assert rows[1]["tags"] == {"team": "[red]x\x1b[2J"}
    (latest,) = json.loads(printed(capsys, url, format="json", limit=1))
    assert latest["request_id"] == "r2"


def test_csv_has_the_same_rows_under_a_header(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(capsys, url, format="csv"))))
    assert [(row["request_id"], row["cost_usd"]) for row in rows] == [
        ("r2", "0.0035"),
        ("r1", "0.0000005"),
    ]
    assert rows[0]["score"] == ""
    groups = list(csv.DictReader(io.StringIO(printed(capsys, url, format="csv", by="day"))))
    assert [(group["day"], group["calls"]) for group in groups] == [("2026-03-01", "2")]


def test_a_scenario_as_json_says_what_it_leaves_out(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (outcome,) = json.loads(printed(capsys, url, format="json", what_if="all-small"))
    assert outcome == {
        "what_if": "all-small",
        "requests": 2,
        "cost_usd": "0.0000005",
        "cost_usd_low": None,
        "cost_usd_high": None,
        "unknown": 1,
        "actual_cost_usd": "0.0035005",
        "unpriced": 0,
        "router_cost_usd": None,
        "saved_usd": None,
        "saved_usd_low": None,
        "saved_usd_high": None,
        "saved_share": None,
        "routed": 0,
        "large_share": None,
        "expected_shortfall": None,
        "actual_expected_shortfall": None,
        "prompt_tokens_large_per_small": 1.0,
        "prompt_tokens_large_per_small_learnt_from": 0,
        "completion_tokens_large_per_small": 1.0,
        "completion_tokens_large_per_small_learnt_from": 0,
    }


def test_every_scenario_stands_beside_the_bill_with_what_is_assumed(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, url, what_if="all-large", usd_per_hour=Decimal(36))
    (large,) = [line for line in text.splitlines() if "all-large" in line]
    assert "$0.007000" in large
    assert all(name in text for name in ("as routed", "all-small", "random"))
    assert text.count("are assumed to be as many") == 2
    assert "too little traffic for an interval" in text
    assert "The router's own part of the bill: $0.000000" in text
    assert "routing.usd_per_hour says nothing" in printed(capsys, url, what_if="random")
    nobody = printed(capsys, url, what_if="random", filters={"key": "nobody"})
    assert nobody == "No chats match, or none have been recorded yet.\n"


def test_a_large_ledger_is_compared_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.cli.costs._MOST_COMPARED", 2)
    address = f"sqlite:///{tmp_path}/large.db"
    priced = {"usage": USAGE, "cost": Cost(Decimal("0.0035"), "computed", "p")}
    record(address, entry(**priced), entry(**priced), entry(cost=UNPRICED))
    (last,) = printed(capsys, address).splitlines()[-1:]
    assert last == (
        "Total $0.007000 (without 1 unpriced call) for 3 calls. "
        "What routing saved: --what-if all-large."
    )
    by_model = printed(capsys, address, by="model")
    assert by_model.splitlines()[-1] == last


def test_unpriced_calls_are_named_not_counted_as_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"sqlite:///{tmp_path}/ledger.db"
    record(address, entry(cost=UNPRICED, **SMALL))
    assert "unpriced" in printed(capsys, address, by="model")
    render_costs(address, [], CostsReport())
    last = capsys.readouterr().out.splitlines()[-1]
    assert "without 1 unpriced call" in last
    assert "unknown: no price" in last
    assert "Saved" not in last


def test_an_empty_ledger_is_a_sentence_or_an_empty_array_and_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"sqlite:///{tmp_path}/none.db"
    assert printed(capsys, address) == "No calls have been recorded yet.\n"
    assert printed(capsys, address, by="key", format="json") == "[]\n"
    assert printed(capsys, address, format="csv").startswith("request_id,attempt,ts,")
    assert list(tmp_path.iterdir()) == []


def test_filters_that_match_nothing_say_so(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, url, filters={"tier": "large", "key": "nobody"})
    assert text == "No calls match.\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:30", datetime(2026, 11, 1, 12, 30, tzinfo=UTC)),
        ("2026-11-01T12:30+02:00", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
    ],
)
def test_times_are_utc(text: str, expected: datetime) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize(("text", "hours"), [("24h", 24), ("7d", 168)])
def test_times_may_be_relative(text: str, hours: int) -> None:
    assert abs(datetime.now(UTC) - timedelta(hours=hours) - moment(text)) < timedelta(seconds=5)


@pytest.mark.parametrize("text", ["yesterday", "7", "-1d", ""])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(text)


def test_a_tag_needs_an_equals_sign() -> None:
    assert tag_filter("team=search") == "team=search"
    with pytest.raises(typer.BadParameter):
        tag_filter("team")
