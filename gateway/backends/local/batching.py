"""How the network is run for the answers in progress: prompts in pieces, answers in one batch.

Answers join and leave between any two steps. In each round every answer that has begun gets one
token, and one piece of prompts is read, so that a long prompt doesn't stall the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gateway.backends.local.network.interface import Network, Part
from gateway.backends.local.network.slots import BLOCK, whole_blocks
from gateway.backends.local.network.summary import Summary, summaries_of
from gateway.backends.local.prefixes import Prefix, Prefixes, shared
from gateway.backends.local.sequence import Answering

_log = logging.getLogger(__name__)

#: Prompt tokens read in a round; a multiple of the network's blocks.
PROMPT_PIECE = 256

#: What a round makes of an answer: the text that became readable, or why its step failed.
Outcome = str | BaseException


@dataclass(slots=True, eq=False)
class _Place:
    """An answer's place: the tokens that were read, and how many it may come to."""

    memory: Any
    reserved: int
    tokens: list[int]


class Batching:
    """Runs the answers in progress; for one thread."""

    def __init__(self, network: Network, *, sequences: int, tokens: int) -> None:
        """At most `sequences` at once, of `tokens` together, prefixes that are kept included."""
        self._network = network
        self._tokens = tokens
        self._sequences = sequences
        self._places: dict[Answering, _Place] = {}
        self._prefixes = Prefixes()
        self._turn = 0
        self._told_s = 0.0

    def admits(self, choices: Sequence[Answering]) -> bool:
        """Give places to the choices of a request; False while there is too little room."""
        needed = [whole_blocks(choice.longest) for choice in choices]
        taken = sum(place.reserved for place in self._places.values())
        if len(self._places) + len(choices) > self._sequences or taken + sum(needed) > self._tokens:
            return False
        room = self._tokens - taken - sum(needed)
        for choice, reserved in zip(choices, needed, strict=True):
            memory = self._network.memory(choice.adapter)
            place = self._places[choice] = _Place(memory, reserved, [])
            kept = self._kept(choice)
            if kept is not None and len(kept.tokens) > room:  # what is to be used goes last
                self._take(choice, place, kept)
        self._prefixes.shrink(room)
        return True

    def release(self, choice: Answering) -> None:
        """Free the place of an answer; what was read is kept as long as there is room."""
        place = self._places.pop(choice, None)
        if place is None:
            return
        try:
            self._keep(choice, place)
        except Exception:  # such as no memory for a copy: it is read again then
            _log.exception("what was read for an answer can't be kept")
        place.memory.release()

    def _keep(self, choice: Answering, place: _Place) -> None:
        free = self._tokens - sum(other.reserved for other in self._places.values())
        room = min(free, self._tokens // 2)  # the memory of what isn't in use is spared
        # Choices of one prompt would keep it once for each.
        read = len(place.tokens) if choice.is_first else choice.prompt_tokens
        whole = min(read, len(place.tokens), room) // BLOCK * BLOCK
        tokens = place.tokens[:whole]
        if whole > 0 and not self._prefixes.holds(tokens, choice.adapter, choice.owner):
            memory = place.memory.kept(whole)
            if memory is not None:
                self._prefixes.keep(Prefix(tokens, memory, choice.adapter, choice.owner))
                self._prefixes.shrink(room)

    def advance(self, choices: Sequence[Answering]) -> Iterator[tuple[Answering, Outcome]]:
        """One round of the choices that have places.

        All its time, theirs who take the outcomes included, becomes somebody's `compute_s`: what
        the network takes is shared, what comes of its numbers is each one's own.
        """
        self._told_s = time.perf_counter()
        writing = [choice for choice in choices if self._has_begun(choice)]
        reading = [choice for choice in choices if not self._has_begun(choice)]
        if writing:
            yield from self._write(writing)
        if reading:
            yield from self._read(reading)

    def _lap_s(self) -> float:
        """The time since it was last asked."""
        before_s, self._told_s = self._told_s, time.perf_counter()
        return self._told_s - before_s

    def _has_begun(self, choice: Answering) -> bool:
        return len(self._places[choice].tokens) >= choice.prompt_tokens

    def _write(self, choices: Sequence[Answering]) -> Iterator[tuple[Answering, Outcome]]:
        """One more token of each answer."""
        try:
            rows = self._network.step(
                [self._places[choice].memory for choice in choices],
                [choice.pending[0] for choice in choices],
            )
        except BaseException as error:  # one answer's failure must not end the others
            _share(self._lap_s(), choices)
            if len(choices) > 1:
                for choice in choices:
                    yield from self._write([choice])
            else:
                yield choices[0], error
            return
        summaries = summaries_of(rows)
        _share(self._lap_s(), choices)
        for choice, logits, summary in zip(choices, rows, summaries, strict=True):
            if choice not in self._places:  # another choice of its request has failed meanwhile
                continue
            self._places[choice].tokens += choice.pending
            outcome = _accepted(choice, logits, summary)
            choice.compute_s += self._lap_s()
            yield choice, outcome

    def _read(self, choices: Sequence[Answering]) -> Iterator[tuple[Answering, Outcome]]:
        """One piece of prompts: whose turn it is, and as many more as fit into it."""
        self._turn += 1
        first = self._turn % len(choices)
        pieces: list[tuple[Answering, Part]] = []
        size = 0
        for choice in (*choices[first:], *choices[:first]):
            part = self._piece(choice, [other for other, _ in pieces])
            if part is None or (pieces and size + len(part.tokens) > PROMPT_PIECE):
                continue
            pieces.append((choice, part))
            size += len(part.tokens)
        yield from self._run(pieces)

    def _run(self, pieces: Sequence[tuple[Answering, Part]]) -> Iterator[tuple[Answering, Outcome]]:
        parts = [part for _, part in pieces]
        sizes = [len(part.tokens) for part in parts]
        try:
            rows = self._network.read(parts)
        except BaseException as error:
            _share(self._lap_s(), [choice for choice, _ in pieces], sizes)
            if len(pieces) > 1:
                for piece in pieces:
                    yield from self._run([piece])
            else:
                yield pieces[0][0], error
            return
        wanted = zip(rows, summaries_of(rows), strict=True)
        _share(self._lap_s(), [choice for choice, _ in pieces], sizes)
        for choice, part in pieces:
            found = next(wanted) if part.wants_logits else None
            if choice not in self._places:
                continue
            self._places[choice].tokens += part.tokens
            choice.pending = choice.pending[len(part.tokens) :]
            if found is not None:
                outcome = _accepted(choice, *found)
                choice.compute_s += self._lap_s()
                yield choice, outcome

    def _piece(self, choice: Answering, others: Sequence[Answering]) -> Part | None:
        """What is to be read next of a prompt; None where waiting for another's is quicker."""
        place = self._places[choice]
        if not place.tokens:
            if self._is_read_by_another(choice, others):
                return None
            self._reuse(choice, place)
        start = len(place.tokens)
        # Always cut at the same places, whatever else is read in this round.
        end = (start // PROMPT_PIECE + 1) * PROMPT_PIECE
        tokens = choice.pending[: end - start]
        return Part(place.memory, tokens, wants_logits=len(tokens) == len(choice.pending))

    def _is_read_by_another(self, choice: Answering, others: Sequence[Answering]) -> bool:
        """Whether a part of this prompt is being read, or about to be, for another answer."""
        known = self._known(choice)
        for other, place in self._places.items():
            under_way = place.tokens or other in others
            is_alike = other.adapter is choice.adapter and other.owner == choice.owner
            if other is choice or not under_way or not is_alike or self._has_begun(other):
                continue
            prompt = [*place.tokens, *other.pending]
            if shared(prompt, choice.pending[:-1]) > max(known, len(place.tokens)):
                return True
        return False

    def _known(self, choice: Answering) -> int:
        found = self._kept(choice)
        return shared(found.tokens, choice.pending[:-1]) if found is not None else 0

    def _kept(self, choice: Answering) -> Prefix | None:
        return self._prefixes.longest(choice.pending[:-1], choice.adapter, choice.owner)

    def _reuse(self, choice: Answering, place: _Place) -> None:
        """Copy what others have read of the same prompt; its last token is always read."""
        prompt = choice.pending[:-1]
        live = [
            Prefix(place.tokens, place.memory, other.adapter, other.owner)
            for other, place in self._places.items()
            if place.tokens and other.adapter is choice.adapter and other.owner == choice.owner
        ]
        kept = self._kept(choice)
        known = [*live, kept] if kept is not None else live
        best = max(known, key=lambda prefix: shared(prefix.tokens, prompt), default=None)
        if best is not None:
            self._take(choice, place, best)

    def _take(self, choice: Answering, place: _Place, prefix: Prefix) -> None:
        prompt = choice.pending[:-1]
        length = shared(prefix.tokens, prompt)
        if length and place.memory.take(prefix.memory, length):
            place.tokens = prompt[:length]
            choice.pending = choice.pending[length:]
            choice.cached_tokens = length


def _share(
    seconds: float, choices: Sequence[Answering], weights: Sequence[int] | None = None
) -> None:
    """Add a time to those who took it together, equally or by weight."""
    parts = weights or [1] * len(choices)
    for choice, part in zip(choices, parts, strict=True):
        choice.compute_s += seconds * part / sum(parts)


def _accepted(choice: Answering, logits: torch.Tensor, summary: Summary) -> Outcome:
    try:
        return choice.accept(logits, summary)
    except BaseException as error:
        return error
