"""What one request is told: the events of its choices, and at last how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from gateway.backends.local.logprobs import Doubts
from gateway.backends.local.sequence import Answering
from gateway.backends.local.submission import Event, Submission


class Reply:
    """A submission and the choices that are being generated for it."""

    def __init__(self, submission: Submission, choices: Sequence[Answering]) -> None:
        self.submission = submission
        self.choices = choices

    def events(self, choice: Answering, text: str) -> Iterator[Event]:
        """What a step of a choice has to tell: its text, its end, and the end of them all."""
        gate = choice.gate
        ended = choice.finish_reason is not None
        index = self.choices.index(choice)
        mark: Event = {}
        if gate is None:
            pieces = [text] if text else []
        else:
            pieces = gate.push(text, ended=ended)
            mark = {"confidence": gate.confidence}
        yield from self._texts(index, choice, pieces, mark)
        if gate is not None and gate.refused:
            yield {"type": "low_confidence", **self._used(), **mark, **self._certainty()}
        elif ended:
            is_last = all(one.finish_reason is not None for one in self.choices)
            mark |= self._certainty() if is_last else {}
            finish_reason = choice.finish_reason
            yield {"type": "choice_end", "index": index, "finish_reason": finish_reason, **mark}
            if is_last:
                yield {"type": "end", **self._used(), **mark}

    def _texts(
        self, index: int, choice: Answering, pieces: Sequence[str], mark: Event
    ) -> Iterator[Event]:
        """The pieces, the first of them with the logprobs that have become tellable."""
        logprobs = choice.told_logprobs() if pieces or choice.finish_reason is not None else []
        if logprobs and not pieces:
            pieces = [""]
        for piece in pieces:
            told = {"logprobs": logprobs} if logprobs else {}
            logprobs = []
            yield {"type": "text", "index": index, "text": piece, **told, **mark}

    def _used(self) -> Event:
        return {
            "prompt_tokens": self.choices[0].prompt_tokens,
            # One of them read the prompt, whichever came first; the others took it from that one.
            "cached_tokens": min(choice.cached_tokens for choice in self.choices),
            "completion_tokens": sum(choice.completion_tokens for choice in self.choices),
            "compute_s": sum(choice.compute_s for choice in self.choices),
        }

    def _certainty(self) -> Event:
        certainty = Doubts.of_all(choice.doubts for choice in self.choices)
        return {} if certainty is None else {"certainty": asdict(certainty)}
