"""Logprobs of chat completions as those of OpenAI's older text completions."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.wire.json_objects import Json, name_in

#: The most alternatives of a token that a chat tells.
MOST_TOP_LOGPROBS = 20


class LogprobsReader:
    """Reads the logprobs of one answer, whole or chunk by chunk.

    `text_offset` counts characters of the choice's text, which begins at 0: no prompt is echoed.
    """

    def __init__(self) -> None:
        self._places: dict[object, _Place] = {}

    def read(self, choice: Mapping[str, Any]) -> Json | None:
        """`tokens`, `token_logprobs`, `top_logprobs` and `text_offset`; None where none are told.

        `top_logprobs` is null where no alternatives are.
        """
        told = choice.get("logprobs")
        tokens = list(_objects(told.get("content"))) if isinstance(told, dict) else []
        if not tokens:
            return None
        index = choice.get("index")
        key = index if isinstance(index, int) else 0
        place = self._places.setdefault(key, _Place())
        likeliest = [
            {
                name_in(one, "token"): one.get("logprob")
                for one in _objects(token.get("top_logprobs"))
            }
            for token in tokens
        ]
        return {
            "tokens": [name_in(token, "token") for token in tokens],
            "token_logprobs": [token.get("logprob") for token in tokens],
            "top_logprobs": likeliest if any(likeliest) else None,
            "text_offset": [place.passed(token) for token in tokens],
        }


class _Place:
    """How far the tokens of a text have come."""

    def __init__(self) -> None:
        self._characters = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def passed(self, token: Mapping[str, Any]) -> int:
        """Where the token begins; the place is behind it then."""
        began = self._characters
        spelt = token.get("bytes")
        try:
            text = self._decoder.decode(bytes(spelt)) if isinstance(spelt, list) else None
        except (TypeError, ValueError):  # no numbers from 0 to 255
            text = None
        self._characters += len(name_in(token, "token") if text is None else text)
        return began


def _objects(several: object) -> Iterator[Mapping[str, Any]]:
    yield from (
        (one for one in several if isinstance(one, dict)) if isinstance(several, list) else ()
    )
