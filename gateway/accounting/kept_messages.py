"""The messages of a request as the ledger keeps them, where the configuration asks for that."""

from __future__ import annotations

import orjson

from gateway.core.request import ChatRequest

#: UTF-8 bytes of a conversation that is kept; a longer one waits in memory for too little use.
LONGEST_CONVERSATION = 64_000


def messages_text(request: ChatRequest) -> str | None:
    """The messages as JSON; None where they are too long or too deep to be of use."""
    try:
        text = orjson.dumps(request.messages)
    except (orjson.JSONEncodeError, RecursionError):
        return None
    return text.decode() if len(text) <= LONGEST_CONVERSATION else None
