"""The book of keys follows the database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.accounting.access import book as books
from gateway.accounting.access.book import KeyBook
from gateway.accounting.access.keys import KeyStore, NameTaken, NoSuchKey, digest_of
from gateway.api.keys import NOBODY, KeyRing
from gateway.core.errors import LedgerUnavailable, Unauthorized


def scope(key: str) -> dict[str, object]:
    headers = [(b"authorization", f"Bearer {key}".encode())]
    return {"type": "http", "path": "/v1/models", "headers": headers}


def knows(book: KeyBook, secret: str) -> bool:
    book.read()
    return book.find(bytes.fromhex(digest_of(secret))) is not None


@pytest.fixture
def book(ledger_url: str) -> Iterator[KeyBook]:
    book = KeyBook(ledger_url, default_rpm=7)
    yield book
    book.stop()


def test_a_key_is_known_until_it_ends(book: KeyBook, ledger_url: str) -> None:
    book.read()
    assert (book.was_read, book.has_keys) == (True, False)
    store = KeyStore(ledger_url)
    record, first = store.create("k", tpm=5)
    assert knows(book, first)
    found = book.find(bytes.fromhex(digest_of(first)))
    assert found is not None
    assert (found.key_id, found.rpm, found.tpm) == (record.key.key_id, 7, 5)
    _, second = store.rotate("k", overlap=timedelta(hours=1))
    assert knows(book, first)
    assert knows(book, second)
    _, third = store.rotate(record.key.key_id, overlap=None)
    assert [knows(book, one) for one in (first, second, third)] == [False, False, True]
    store.change("k", {"expires": datetime.now(UTC)})
    assert not knows(book, third)
    store.change("k", {"expires": None})
    assert knows(book, third)
    store.revoke("k")
    assert not knows(book, third)
    assert book.has_keys, "the door stays shut"
    with pytest.raises(NameTaken):
        store.create("k")
    with pytest.raises(NoSuchKey):
        store.revoke("absent")


async def test_the_first_key_shuts_the_door_and_is_looked_for_at_once(
    book: KeyBook, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "REFRESH_S", 60.0)
    ring = KeyRing([], book)
    with pytest.raises(LedgerUnavailable):
        ring.identify(scope("sk-x"))
    book.read()
    book.start()
    assert ring.identify(scope("sk-x")) == NOBODY
    with pytest.raises(Unauthorized):
        await KeyRing([], book, required=True).identity(scope("sk-x"))
    record, secret = KeyStore(ledger_url).create("k")
    identity = await KeyRing(["sk-env"], book).identity(scope(secret))
    assert (identity.key_id, identity.key) == (record.key.key_id, identity.key)
    assert identity.key is not None
    _, another = KeyStore(ledger_url).create("another")
    assert (await ring.identity(scope(another))).key is not None
    for key in ("sk-x", "sk-y"):
        with pytest.raises(Unauthorized):
            await ring.identity(scope(key))
    assert (await KeyRing(["sk-env"], book).identity(scope("sk-env"))).key is None


def test_a_database_that_is_away_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    _, secret = KeyStore(url).create("k")
    book = KeyBook(url)
    assert knows(book, secret)
    (tmp_path / "ledger.db").write_bytes(b"no database" * 1000)
    for path in tmp_path.glob("ledger.db-*"):
        path.unlink()
    with pytest.raises(LedgerUnavailable):
        book.read()
    assert book.find(bytes.fromhex(digest_of(secret))) is not None
    book.stop()
