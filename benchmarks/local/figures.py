"""What a job's stamps say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.local.asked import LONG_PROMPT, NEW_TOKENS
from benchmarks.local.play import Played, Stream


@dataclass(slots=True)
class Round:
    """One system's figures of one round.

    `decode` are tokens/s by the number of streams, once each has its first token and until one
    has its last; `whole` are all new tokens over all the time, prompts included. `stall_s` is the
    longest pause in other streams while a long prompt is read, `usual_s` their usual one.
    """

    decode: dict[int, float] = field(default_factory=dict)
    whole: dict[int, float] = field(default_factory=dict)
    first_token_s: float = 0.0
    stall_s: float | None = None
    usual_s: float | None = None
    ended_early: int = 0

    @property
    def prefill(self) -> float:
        """Prompt tokens/s of the long prompt."""
        return LONG_PROMPT / self.first_token_s

    def note_alike(self, played: Sequence[Played]) -> None:
        """Take the figures of short prompts that were asked at once."""
        self.decode[len(played)] = decode_rate(played)
        took_s = max(one.stamps_s[-1] for one in played)
        self.whole[len(played)] = sum(one.tokens for one in played) / took_s
        self.ended_early += sum(one.tokens < NEW_TOKENS for one in played)

    def note_long_among_others(self, streams: Sequence[Stream], played: Sequence[Played]) -> None:
        """Take the figures of streams that a long prompt, the last one, came to."""
        begin_s, end_s = streams[-1].after_s, played[-1].stamps_s[0]
        others = played[:-1]
        self.stall_s = max(_longest_gap(one.stamps_s, begin_s, end_s) for one in others)
        gaps = sorted(
            after - before
            for one in others
            for before, after in itertools.pairwise(one.stamps_s)
            if after < begin_s
        )
        self.usual_s = gaps[len(gaps) // 2] if gaps else None


def decode_rate(played: Sequence[Played]) -> float:
    """Tokens/s of streams together while all of them are being written."""
    begin_s = max(one.stamps_s[0] for one in played)
    end_s = min(one.stamps_s[-1] for one in played)
    if end_s <= begin_s:
        return float("nan")
    tokens = sum(
        sum(begin_s < stamp <= end_s for stamp in one.stamps_s) * one.tokens / len(one.stamps_s)
        for one in played
    )
    return tokens / (end_s - begin_s)


def _longest_gap(stamps_s: Sequence[float], begin_s: float, end_s: float) -> float:
    """The longest pause that overlaps with a span of time."""
    gaps = [
        after - before
        for before, after in itertools.pairwise(stamps_s)
        if after > begin_s and before < end_s
    ]
    return max(gaps, default=float("nan"))
