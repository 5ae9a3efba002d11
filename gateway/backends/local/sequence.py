"""One answer being generated: its pending tokens, its sampler, and its text as it can be read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch

from gateway.backends.local.load import LoadedModel
from gateway.backends.local.params import SamplingParams
from gateway.backends.local.sampling import Sampler
from gateway.backends.local.stopping import StopFilter

Event = dict[str, Any]

#: What a tokenizer decodes an unfinished UTF-8 character to.
_REPLACEMENT = "\ufffd"

#: Tokens after which a replacement character is no unfinished one: UTF-8 takes four bytes at most.
_LONGEST_CHARACTER = 4


class Sequence:
    """The state of one answer. `pending` are the tokens that the network has yet to read.

    `finish_reason` is None until the answer has ended, then `stop` or `length`; `compute_s` is the
    time that was spent on it. `cancelled` may be set from any thread. The token that ends an
    answer is not counted: `completion_tokens` are the tokens of its text.
    """

    def __init__(
        self,
        model: LoadedModel,
        prompt: list[int],
        params: SamplingParams,
        max_tokens: int,
    ) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self._sampler = Sampler(params.with_defaults(model.sampling))
        self._stops = StopFilter(params.stop)
        self._tokens: list[int] = []
        self._shown_from = 0
        self._shown_to = 0
        self.pending = prompt
        self.cache: Any = None
        self.prompt_tokens = len(prompt)
        self.compute_s = 0.0
        self.finish_reason: str | None = None

    @property
    def completion_tokens(self) -> int:
        """The tokens of the answer so far."""
        return len(self._tokens)

    def accept(self, logits: torch.Tensor) -> str:
        """Choose the next token; the text that became readable by it (often none)."""
        token = self._sampler.choose(logits)
        if token in self._model.end_tokens:
            self.finish_reason = "stop"
            text = self._stops.push(self._readable(final=True))
            return text + self._stops.flush()
        self.pending = [token]
        self._tokens.append(token)
        is_last = self.completion_tokens >= self._max_tokens
        text = self._stops.push(self._readable(final=is_last))
        if self._stops.stopped:
            self.finish_reason = "stop"
        elif is_last:
            self.finish_reason = "length"
            text += self._stops.flush()
        return text

    def _readable(self, *, final: bool) -> str:
        """The text that the latest tokens made readable: whole characters only.

        Some tokenizers drop a leading space, so tokens are decoded after their predecessors and
        the predecessors' text is cut off.
        """
        decode = self._model.tokenizer.decode
        known = decode(self._tokens[self._shown_from : self._shown_to])
        whole = decode(self._tokens[self._shown_from :])
        unread = len(self._tokens) - self._shown_to
        if whole.endswith(_REPLACEMENT) and not final and unread < _LONGEST_CHARACTER:
            return ""
        self._shown_from, self._shown_to = self._shown_to, len(self._tokens)
        return whole[len(known) :]


class Submission:
    """One request to the engine, and where its events go.

    `emit` is called from the engine's threads, with `text`, `end` and `error` events; `cancelled`
    may be set from any thread.
    """

    def __init__(
        self, messages: list[dict[str, Any]], asked: dict[str, Any], emit: Callable[[Event], None]
    ) -> None:
        self.messages = messages
        self.asked = asked
        self.emit = emit
        self.cancelled = threading.Event()
