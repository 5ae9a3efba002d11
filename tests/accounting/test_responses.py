"""Responses are kept in both databases, for the key that made them, and read back as a chain."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from gateway.accounting import responses as module
from gateway.accounting.database import open_for_writing, responses
from gateway.accounting.responses import KeptResponse, ResponseStore
from gateway.accounting.writing import delete_expired
from gateway.core.errors import (
    ContextTooLong,
    InvalidRequest,
    LedgerUnavailable,
    ResponseNotFound,
)
from tests.accounting.ledger_entries import running


@pytest.fixture
def store(ledger_url: str) -> Iterator[ResponseStore]:
    store = ResponseStore(ledger_url)
    yield store
    store.close()


def name(number: int) -> str:
    return f"resp_{number:032x}"


def kept(number: int, previous: int | None = None, key_id: str | None = "k") -> KeptResponse:
    question = [{"role": "user", "content": f"question {number}"}]
    answer = {"id": name(number), "output": [{"type": "message", "content": f"answer {number}"}]}
    return KeptResponse(
        name(number),
        key_id,
        None if previous is None else name(previous),
        orjson.dumps(question).decode(),
        orjson.dumps(answer).decode(),
    )


def contents(items: list[dict[str, Any]]) -> list[str]:
    return [item["content"] for item in items]


def test_a_response_comes_back_as_it_was_and_is_gone_once_deleted(store: ResponseStore) -> None:
    odd = KeptResponse(name(1), None, None, '[{"a":"\\u0000 東京 🗼"}]', '{"output":[]}')
    store.add(odd)
    assert store.find(name(1), None) == odd
    assert store.conversation(name(1), None) == [{"a": "\0 東京 🗼"}]
    store.delete(name(1), None)
    for call in (store.find, store.delete):
        with pytest.raises(ResponseNotFound):
            call(name(1), None)


def test_a_conversation_is_inputs_and_outputs_in_order(store: ResponseStore) -> None:
    for one in (kept(1), kept(2, 1), kept(3, 2), kept(4, 1), kept(5)):
        store.add(one)
    told = ["question 1", "answer 1", "question 2", "answer 2", "question 3", "answer 3"]
    assert contents(store.conversation(name(3), "k")) == told
    assert contents(store.conversation(name(4), "k")) == [*told[:2], "question 4", "answer 4"]


@pytest.mark.parametrize("key_id", ["other", None])
def test_another_key_sees_none_of_it(store: ResponseStore, key_id: str | None) -> None:
    store.add(kept(1))
    store.add(kept(2, 1, key_id))
    for call in (store.find, store.delete):
        with pytest.raises(ResponseNotFound):
            call(name(1), key_id)
    for number in (1, 2):
        with pytest.raises(InvalidRequest) as caught:
            store.conversation(name(number), key_id)
        assert caught.value.code == "previous_response_not_found"
        assert caught.value.param == "previous_response_id"
    assert contents(store.conversation(name(1), "k")) == ["question 1", "answer 1"]


@pytest.mark.parametrize("asked", [name(9), "resp_", "\0", "x" * 5000, "resp_' OR 1=1 --"])
def test_what_isn_t_kept_is_told_briefly(store: ResponseStore, asked: str) -> None:
    with pytest.raises(ResponseNotFound) as caught:
        store.find(asked, "k")
    assert len(caught.value.message) < 200
    with pytest.raises(InvalidRequest) as refused:
        store.conversation(asked, "k")
    assert len(refused.value.message) < 200


def test_a_conversation_with_a_gap_is_refused_not_cut(store: ResponseStore) -> None:
    for one in (kept(1), kept(2, 1), kept(3, 2)):
        store.add(one)
    store.delete(name(1), "k")
    with pytest.raises(InvalidRequest, match=f"'{name(1)}', on which .* is not stored any more"):
        store.conversation(name(3), "k")


def test_a_conversation_of_too_many_turns_or_characters_is_refused(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 7):
        store.add(kept(number, number - 1 if number > 1 else None))
    monkeypatch.setattr(module, "MOST_TURNS", 5)
    assert len(store.conversation(name(5), "k")) == 10
    with pytest.raises(ContextTooLong):
        store.conversation(name(6), "k")
    size = sum(len(one.input_items) + len(one.response) for one in map(kept, range(1, 6)))
    monkeypatch.setattr(module, "MOST_CHARACTERS", size)
    assert len(store.conversation(name(5), "k")) == 10
    monkeypatch.setattr(module, "MOST_CHARACTERS", size - 1)
    with pytest.raises(ContextTooLong):
        store.conversation(name(5), "k")


def test_a_circle_ends(store: ResponseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TURNS", 20)
    store.add(kept(1, 2))
    store.add(kept(2, 1))
    with pytest.raises(ContextTooLong):
        store.conversation(name(2), "k")


def test_responses_whose_time_is_over_are_hidden_and_then_swept(ledger_url: str) -> None:
    store, for_ever = ResponseStore(ledger_url), ResponseStore(ledger_url, retention_days=None)
    for number in (1, 2, 3):
        store.add(kept(number))
    for_ever.add(kept(4))
    engine = open_for_writing(ledger_url, durable=False)
    now = datetime.now(UTC)
    old = sa.update(responses).where(responses.c.id.in_([name(1), name(2)]))
    with engine.begin() as connection:
        expires = connection.scalar(sa.select(responses.c.expires).where(responses.c.id == name(3)))
        connection.execute(old.values(expires=now - timedelta(seconds=1)))
    assert expires is not None
    assert timedelta(days=29) < expires - now <= timedelta(days=30)
    with pytest.raises(ResponseNotFound):
        store.find(name(1), "k")
    assert delete_expired(engine, now, limit=1)
    with running(ledger_url, retention_days=None):  # its writer sweeps the rest
        pass
    with engine.begin() as connection:
        left = connection.scalars(sa.select(responses.c.id)).all()
    engine.dispose()
    assert sorted(left) == [name(3), name(4)]
    store.close()
    for_ever.close()


def test_a_database_that_can_t_be_opened_is_said() -> None:
    store = ResponseStore("sqlite:////proc/no/where.db")
    for call in (store.find, store.conversation, store.delete):
        with pytest.raises(LedgerUnavailable):
            call(name(1), "k")
    with pytest.raises(LedgerUnavailable):
        store.add(kept(1))
