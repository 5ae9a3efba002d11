"""Answers of upstreams that aren't what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.core.errors import GatewayError

#: What reading or writing an object raises that isn't the one it should be.
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)


@contextmanager
def readable(error: type[GatewayError]) -> Iterator[None]:
    """Raises `error` where what is translated within is no chat completion."""
    try:
        yield
    except _MALFORMED:
        raise error("The upstream's answer is not a chat completion.") from None
