"""Feedback is kept for requests that the key has made, and only for those."""

import time

import pytest
import sqlalchemy as sa

from gateway.accounting.database import conversations, feedback, open_for_writing
from gateway.accounting.feedback import FeedbackBook
from gateway.accounting.history import requests_of
from gateway.accounting.query import LedgerReader
from gateway.core.errors import LedgerUnavailable, RequestNotFound
from tests.accounting.ledger_entries import entry, record


def test_the_newest_score_of_a_request_counts_and_none_is_lost(ledger_url: str) -> None:
    record(ledger_url, entry(request_id="r", key_id="k", score=0.7, threshold=0.5))
    book = FeedbackBook(ledger_url)
    book.add("r", 0.2, "wrong\0 city", "k")
    time.sleep(0.002)
    book.add("r", 1.0, None, "k")
    book.close()
    (request,) = requests_of(LedgerReader(ledger_url))
    assert request.feedback == 1.0
    engine = open_for_writing(ledger_url, durable=False)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(feedback).order_by(feedback.c.ts)).all()
    engine.dispose()
    assert [(row.score, row.key_id) for row in rows] == [(0.2, "k"), (1.0, "k")]


@pytest.mark.parametrize(("request_id", "key_id"), [("absent", "k"), ("r", "other"), ("r", None)])
def test_an_unknown_request_or_somebody_else_s_is_refused(
    ledger_url: str, request_id: str, key_id: str | None
) -> None:
    record(ledger_url, entry(request_id="r", key_id="k"))
    book = FeedbackBook(ledger_url)
    with pytest.raises(RequestNotFound):
        book.add(request_id, 1.0, None, key_id)
    book.close()


def test_a_ledger_that_can_t_be_opened_is_said() -> None:
    with pytest.raises(LedgerUnavailable):
        FeedbackBook("sqlite:////proc/no/where.db").add("r", 1.0)


def test_messages_are_kept_where_the_entry_carries_them(ledger_url: str) -> None:
    record(
        ledger_url,
        entry(request_id="kept", messages='[{"role":"user","content":"你好"}]'),
        entry(request_id="kept", attempt=2),
        entry(request_id="none"),
    )
    engine = open_for_writing(ledger_url, durable=False)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(conversations)).all()
    engine.dispose()
    assert [row.request_id for row in rows] == ["kept"]
    assert "你好" in rows[0].messages
