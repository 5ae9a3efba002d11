"""One answer being generated: what is still to be read, its sampler, its text as it comes."""

from __future__ import annotations

import collections
from typing import Any

import torch

from gateway.backends.local.constraint import Constraint
from gateway.backends.local.gate import Gate
from gateway.backends.local.load import LoadedModel
from gateway.backends.local.logprobs import Doubts, entry_of
from gateway.backends.local.network.summary import Summary
from gateway.backends.local.params import SamplingParams
from gateway.backends.local.sampling import Sampler
from gateway.backends.local.stopping import StopFilter

#: What a tokenizer decodes an unfinished UTF-8 character to.
_REPLACEMENT = "\ufffd"
#: A character has at most four bytes: so many of them may still want the last.
_MOST_UNFINISHED = 3
#: After so many tokens without a whole character at their end none is expected to come.
_LONGEST_WAIT = 32


class Answering:
    """An answer in progress.

    `pending` are the token ids that the network hasn't read yet; `longest` is how many tokens it
    may come to, with the prompt; `adapter` is the LoRA adapter that it is to be read with.
    What was read for it is of use to answers with the same `owner`; `is_first` marks the first of
    a request's choices.
    `cached_tokens` of the prompt had been read before. `finish_reason` is None until the answer
    has ended, then `stop` or `length`; `completion_tokens` leaves out the token that ends an
    answer; `compute_s` is its part of the engine's time, in seconds; `gate` is where a
    cascade watches it.
    """

    def __init__(
        self,
        model: LoadedModel,
        prompt: list[int],
        params: SamplingParams,
        max_tokens: int,
        gate: Gate | None = None,
        constraint: Constraint | None = None,
        adapter: Any = None,
        *,
        may_call: bool = False,
        owner: str | None = None,
        is_first: bool = True,
    ) -> None:
        """`may_call` says whether it may hold calls of tools, which no stop string cuts."""
        self._model = model
        self._max_tokens = max_tokens
        self._top_logprobs = params.top_logprobs
        self._constraint = constraint
        self._sampler = Sampler(params, prompt, constraint)
        dialect = model.tokenizer.dialect if may_call else None
        self._stops = StopFilter(params.stop, until=None if dialect is None else dialect.begins)
        #: The special token that begins calls is told as text.
        self._marker = (
            None
            if dialect is None or dialect.token is None
            else model.tokenizer.token_id(dialect.token)
        )
        self._tokens: list[int] = []
        # The tokens that are decoded together, and how much of their text has been told.
        self._read_from = 0
        self._read_characters = 0
        self._known_to = 0
        self._readable_characters = 0
        self._shown_characters = 0
        #: Logprobs that aren't told yet, each with where its token's text begins.
        self._untold: collections.deque[tuple[int, dict[str, Any]]] = collections.deque()
        self.doubts = Doubts()
        self.gate = gate
        self.adapter = adapter
        self.owner = owner
        self.is_first = is_first
        self.pending = prompt
        self.prompt_tokens = len(prompt)
        self.longest = len(prompt) + max_tokens
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.compute_s = 0.0
        self.finish_reason: str | None = None

    def accept(self, logits: torch.Tensor, summary: Summary) -> str:
        """Choose the next token; the text that may be shown now (often none)."""
        token = self._sampler.choose(logits, summary.likeliest)
        normaliser = summary.normaliser
        logprob = float(logits[token]) - normaliser
        self.doubts.observe(logits, logprob, normaliser)
        if self.gate is not None:
            self.gate.observe(logprob)
        if token in self._model.end_tokens:
            self.finish_reason = "stop"
            return self._shown(self._readable(is_final=True), is_last=True)
        if self._top_logprobs is not None:
            tokenizer, most = self._model.tokenizer, self._top_logprobs
            entry = entry_of(tokenizer, logits, normaliser, token, most)
            self._untold.append((self._readable_characters, entry))
        self.pending = [token]
        self._tokens.append(token)
        self.completion_tokens += 1
        is_complete = self._constraint is not None and self._constraint.is_complete
        is_last = is_complete or self.completion_tokens >= self._max_tokens
        text = self._shown(self._readable(is_final=is_last), is_last=is_last)
        if self._stops.stopped or is_complete:
            self.finish_reason = "stop"
        elif is_last:
            self.finish_reason = "length"
        return text

    def told_logprobs(self) -> list[dict[str, Any]]:
        """The logprobs of the tokens that have been shown since the last call."""
        has_ended_whole = self.finish_reason is not None and not self._stops.stopped
        told = []
        while self._untold and (has_ended_whole or self._untold[0][0] < self._shown_characters):
            told.append(self._untold.popleft()[1])
        return told

    def _shown(self, readable: str, *, is_last: bool) -> str:
        """What the stop strings let through of the text that became readable."""
        self._readable_characters += len(readable)
        text = self._stops.push(readable)
        if is_last:
            text += self._stops.flush()
        self._shown_characters += len(text)
        return text

    def _readable(self, *, is_final: bool) -> str:
        """The text that the latest tokens made readable: whole characters only.

        Some tokenizers drop a leading space, so tokens are decoded after their predecessors and
        the predecessors' text is cut off.
        """
        decode, marker = self._model.tokenizer.decode, self._marker
        whole = decode(self._tokens[self._read_from :], marker)
        is_waiting = whole.endswith(_REPLACEMENT) and not is_final
        is_waiting = is_waiting and len(self._tokens) - self._known_to < _LONGEST_WAIT
        end = _unfinished_from(whole) if is_waiting else len(whole)
        text = whole[self._read_characters : end]
        self._read_characters = max(self._read_characters, end)
        if text and end == len(whole):
            # A token without text is no predecessor that would keep the next one's space.
            self._read_from, self._known_to = self._known_to, len(self._tokens)
            self._read_characters = len(decode(self._tokens[self._read_from :], marker))
        return text


def _unfinished_from(text: str) -> int:
    """Where the characters at a text's end begin that the next token may still complete."""
    whole = len(text.rstrip(_REPLACEMENT))
    return max(whole, len(text) - _MOST_UNFINISHED)
