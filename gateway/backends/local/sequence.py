"""One answer being generated: what is still to be read, its sampler, its text as it comes."""

from __future__ import annotations

import torch

from gateway.backends.local.gate import Gate
from gateway.backends.local.load import LoadedModel
from gateway.backends.local.network.adapters import Adapter
from gateway.backends.local.params import SamplingParams
from gateway.backends.local.sampling import Sampler
from gateway.backends.local.stopping import StopFilter

#: What a tokenizer decodes an unfinished UTF-8 character to.
_REPLACEMENT = "\ufffd"
#: A character has at most four bytes: after so many tokens it isn't unfinished but no character.
_LONGEST_CHARACTER = 4


class Answering:
    """An answer in progress.

    `pending` are the token ids that the network hasn't read yet; `longest` is how many tokens it
    may come to, with the prompt; `adapter` is the LoRA adapter that it is to be read with.
    `cached_tokens` of the prompt had been read before. `finish_reason` is None until the answer
    has ended, then `stop` or `length`; `completion_tokens` leaves out the token that ends an
    answer; `compute_s` is the time that the network took for it, in seconds; `gate` is where a
    cascade watches it.
    """

    def __init__(
        self,
        model: LoadedModel,
        prompt: list[int],
        params: SamplingParams,
        max_tokens: int,
        gate: Gate | None = None,
    ) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self._sampler = Sampler(params)
        self._stops = StopFilter(params.stop)
        self._tokens: list[int] = []
        self._shown_from = 0
        self._shown_to = 0
        self.gate = gate
        self.pending = prompt
        self.prompt_tokens = len(prompt)
        self.longest = len(prompt) + max_tokens
        self.adapter: Adapter | None = None
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.compute_s = 0.0
        self.finish_reason: str | None = None

    def accept(self, logits: torch.Tensor) -> str:
        """Choose the next token; the text that may be shown now (often none)."""
        token = self._sampler.choose(logits)
        if self.gate is not None:
            self.gate.observe(logits, token)
        if token in self._model.end_tokens:
            self.finish_reason = "stop"
            return self._stops.push(self._readable(is_final=True)) + self._stops.flush()
        self.pending = [token]
        self._tokens.append(token)
        self.completion_tokens += 1
        is_last = self.completion_tokens >= self._max_tokens
        text = self._stops.push(self._readable(is_final=is_last))
        if self._stops.stopped:
            self.finish_reason = "stop"
        elif is_last:
            self.finish_reason = "length"
            text += self._stops.flush()
        return text

    def _readable(self, *, is_final: bool) -> str:
        """The text that the latest tokens made readable: whole characters only.

        Some tokenizers drop a leading space, so tokens are decoded after their predecessors and
        the predecessors' text is cut off.
        """
        decode = self._model.tokenizer.decode
        whole = decode(self._tokens[self._shown_from :])
        is_young = len(self._tokens) - self._shown_to < _LONGEST_CHARACTER
        if whole.endswith(_REPLACEMENT) and is_young and not is_final:
            return ""
        known = decode(self._tokens[self._shown_from : self._shown_to])
        self._shown_from, self._shown_to = self._shown_to, len(self._tokens)
        return whole[len(known) :]
