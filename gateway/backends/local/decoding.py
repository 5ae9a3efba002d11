"""How the network is run for the answers in progress: one after another, a small step each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from transformers.cache_utils import DynamicCache

from gateway.backends.local.load import LoadedModel
from gateway.backends.local.sequence import Answering

#: Prompt tokens read at a time, so that a long prompt doesn't stall the other answers.
PREFILL_CHUNK = 256


class TakingTurns:
    """Gives each answer one prompt chunk or one token a round.

    A batching decoder has the same one method and replaces this class.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._network = model.network
        self._adapters = model.adapters

    def advance(self, sequences: Sequence[Answering]) -> Iterator[tuple[int, str | Exception]]:
        """One round: by position, the text that became readable, or why the step failed."""
        for position, sequence in enumerate(sequences):
            started = time.perf_counter()
            try:
                outcome: str | Exception = self._step(sequence)
            except Exception as error:  # one answer's failure must not end the others
                outcome = error
            sequence.compute_s += time.perf_counter() - started
            yield position, outcome

    def _step(self, sequence: Answering) -> str:
        if sequence.cache is None:
            sequence.cache = DynamicCache(config=self._network.config)
        if self._adapters is not None:
            self._adapters.active = sequence.adapter
        chunk = sequence.pending[:PREFILL_CHUNK]
        sequence.pending = sequence.pending[PREFILL_CHUNK:]
        output = self._network(
            input_ids=torch.tensor([chunk]),
            cache=sequence.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return "" if sequence.pending else sequence.accept(output.logits[0, -1].float())
