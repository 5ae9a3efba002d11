"""Virtual keys in the database: made, listed, changed, replaced, ended. Every call blocks."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from gateway.accounting.access.tables import ID_PREFIX, key_changes, virtual_keys
from gateway.accounting.database import driver_reason, open_for_writing
from gateway.accounting.migrations import migrate
from gateway.core.access import Budget, VirtualKey
from gateway.core.errors import LedgerUnavailable

#: What every key begins with, so that scanners of leaked secrets can tell one.
SECRET_PREFIX = "sk-gw-"  # noqa: S105 (no secret)
_ENDING = 4

State = Literal["active", "expired", "revoked"]


class NoSuchKey(LookupError):
    """No virtual key has this name or id."""


class NameTaken(ValueError):
    """Another key has this name already, be it a revoked one."""


@dataclass(slots=True, frozen=True)
class KeyRecord:
    """A key as its owner's list shows it, without the key."""

    key: VirtualKey
    ending: str
    created: datetime
    expires: datetime | None
    revoked: datetime | None

    def state(self, now: datetime) -> State:
        """Whether it can be used at a moment."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


def digest_of(secret: str) -> str:
    """What is kept of a key. It is 256 random bits, so that no salt or slow hash is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def record_of(row: Any) -> KeyRecord:
    """A row of `virtual_keys`, without its digests."""
    budget = None
    if row.budget_pico is not None:
        budget = Budget(int(row.budget_pico), row.budget_period, row.budget_over)
    models = None if row.models is None else frozenset(json.loads(row.models))
    key = VirtualKey(row.id, row.name, budget, row.rpm, row.tpm, models)
    return KeyRecord(key, row.ending, row.created, row.expires, row.revoked)


class KeyStore:
    """The keys of one database. Each method raises LedgerUnavailable where that is away."""

    def __init__(self, url: str) -> None:
        self._url = url

    def create(
        self,
        name: str,
        *,
        budget: Budget | None = None,
        rpm: int | None = None,
        tpm: int | None = None,
        models: frozenset[str] | None = None,
        expires: datetime | None = None,
    ) -> tuple[KeyRecord, str]:
        """A new key, and the secret itself, which nobody can show again. Raises NameTaken."""
        secret = _new_secret()
        key_id = ID_PREFIX + secrets.token_hex(8)
        values = {
            "id": key_id,
            "name": name,
            **_secret_columns(secret),
            "created": datetime.now(UTC),
            "expires": expires,
            **limit_columns(budget=budget, rpm=rpm, tpm=tpm, models=models),
        }
        with self._changing() as connection:
            try:
                connection.execute(sa.insert(virtual_keys), values)
            except IntegrityError:
                raise NameTaken(f"There is a key named '{name}' already.") from None
            return _found(connection, key_id), secret

    def all(self) -> list[KeyRecord]:
        """Every key, revoked ones too, the oldest first."""
        statement = sa.select(virtual_keys).order_by(virtual_keys.c.created, virtual_keys.c.id)
        with self._transaction() as connection:
            return [record_of(row) for row in connection.execute(statement)]

    def rotate(self, which: str, *, overlap: timedelta | None) -> tuple[KeyRecord, str]:
        """Another secret for a key, which keeps its id, limits and spending. Raises NoSuchKey.

        The old one is good for `overlap` still, or ends at once.
        """
        secret = _new_secret()
        with self._changing() as connection:
            key_id = _found(connection, which).key.key_id
            values = {**_secret_columns(secret), "previous_digest": None, "previous_expires": None}
            if overlap is not None:
                values["previous_digest"] = virtual_keys.c.digest
                values["previous_expires"] = datetime.now(UTC) + overlap
            _update(connection, key_id, values)
            return _found(connection, key_id), secret

    def revoke(self, which: str) -> KeyRecord:
        """End a key for good. Raises NoSuchKey."""
        with self._changing() as connection:
            found = _found(connection, which)
            if found.revoked is None:
                _update(connection, found.key.key_id, {"revoked": datetime.now(UTC)})
            return _found(connection, found.key.key_id)

    def change(self, which: str, values: Mapping[str, Any]) -> KeyRecord:
        """Set columns, such as those of `limit_columns`, or `expires`. Raises NoSuchKey."""
        with self._changing() as connection:
            key_id = _found(connection, which).key.key_id
            if values:
                _update(connection, key_id, values)
            return _found(connection, key_id)

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """A transaction after which every gateway reads its keys anew."""
        with self._transaction() as connection:
            yield connection
            version = key_changes.c.version
            connection.execute(sa.update(key_changes).values(version=version + 1))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        engine: Engine | None = None
        try:
            engine = open_for_writing(self._url, durable=True)
            migrate(engine)
            with engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, ImportError) as error:
            message = f"The keys can't be read or written: {driver_reason(error)}."
            raise LedgerUnavailable(message) from error
        finally:
            if engine is not None:
                engine.dispose()


def limit_columns(
    *,
    budget: Budget | None,
    rpm: int | None,
    tpm: int | None,
    models: frozenset[str] | None,
) -> dict[str, Any]:
    """A key's limits as columns of `virtual_keys`."""
    return {
        **budget_columns(budget),
        "rpm": rpm,
        "tpm": tpm,
        "models": None if models is None else json.dumps(sorted(models), ensure_ascii=False),
    }


def budget_columns(budget: Budget | None) -> dict[str, Any]:
    """A budget as columns of `virtual_keys`."""
    return {
        "budget_pico": None if budget is None else budget.pico,
        "budget_period": None if budget is None else budget.period,
        "budget_over": None if budget is None else budget.over,
    }


def _new_secret() -> str:
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def _secret_columns(secret: str) -> dict[str, Any]:
    return {"digest": digest_of(secret), "ending": secret[-_ENDING:]}


def _found(connection: Connection, which: str) -> KeyRecord:
    """The key of that id or name."""
    same = sa.or_(virtual_keys.c.id == which, virtual_keys.c.name == which)
    row = connection.execute(sa.select(virtual_keys).where(same)).first()
    if row is None:
        raise NoSuchKey(f"There is no key named '{which}'.")
    return record_of(row)


def _update(connection: Connection, key_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(sa.update(virtual_keys).where(virtual_keys.c.id == key_id).values(values))
