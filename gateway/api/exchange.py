"""One HTTP exchange: what is known of it before and after the endpoint has run."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from starlette.types import Scope

from gateway.core.access import VirtualKey
from gateway.core.entry import LedgerEntry
from gateway.core.interfaces import Limiter

SCOPE_KEY = "gateway.exchange"


# Unique, not secret: a system call for the entropy of each id would cost more than all the rest.
_random_bits = random.Random().getrandbits  # noqa: S311


def _request_id() -> str:
    """Milliseconds and 80 random bits: in the order of time, the ledger's index grows at its end.

    At random places each row would dirty a page of its own, once a million of them are there.
    """
    return f"req_{time.time_ns() // 1_000_000 << 80 | _random_bits(80):032x}"


@dataclass(slots=True)
class Exchange:
    """The request's id, who called, and (once routed) the ledger entry of the answering attempt.

    `key` is set where a virtual key called, `limiter` where that has rates to keep to; `tokens` are
    those that were counted for the request. `headers` are further ones of the answer.
    """

    request_id: str = field(default_factory=_request_id)
    key_id: str | None = None
    key: VirtualKey | None = None
    limiter: Limiter | None = None
    tokens: int = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    status: int = 0
    entry: LedgerEntry | None = None

    @property
    def is_master(self) -> bool:
        """Whether it may see what others do: a key of the environment, or no keys are set."""
        return self.key is None


def exchange_of(scope: Scope) -> Exchange:
    """The exchange that the gate put into the scope."""
    exchange = scope[SCOPE_KEY]
    assert isinstance(exchange, Exchange)  # noqa: S101 (the gate is outermost)
    return exchange


def header(scope: Scope, name: bytes) -> str | None:
    """The first value of a request header, or None; names are lower case in ASGI."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text.strip()
    return None
