"""How a system under test is asked: jobs in, one JSON line each; when each token came, out.

Runs in the peers' interpreter too, so it imports nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field


@dataclass(slots=True)
class Stream:
    """One answer of a job: its prompt's token ids, how many tokens are wanted, and from when on."""

    prompt: list[int]
    tokens: int
    after_s: float = 0.0


@dataclass(slots=True)
class Played:
    """What came of a stream: when, in seconds from the job's start, and how many tokens.

    There is a stamp for each token, or (where text is all that is seen) for each piece of text.
    """

    stamps_s: list[float] = field(default_factory=list)
    tokens: int = 0


#: Runs the streams of a job.
Player = Callable[[Sequence[Stream]], list[Played]]


def serve(load: Callable[[], Player]) -> None:
    """Load, say that it is done, then play a job a line until the input ends."""
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    player = load()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        streams = [Stream(**fields) for fields in json.loads(line)]
        played = [asdict(one) for one in player(streams)]
        print(json.dumps(played), file=answers, flush=True)
