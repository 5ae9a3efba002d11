"""Where a cascade watches: an answer's first tokens are held back until it is decided."""

from __future__ import annotations

from gateway.core.cascade import Cascade


class Gate:
    """Between one answer and its listener.

    `confidence` is None until the first tokens (the one that ends an answer too) have been seen;
    then all that was held back passes, or the answer is `refused`.
    """

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade
        self._logprobs: list[float] = []
        self._held: list[str] = []
        self.confidence: float | None = None

    @property
    def refused(self) -> bool:
        """Whether the model wasn't sure enough."""
        return not self._cascade.commits(self.confidence)

    def observe(self, logprob: float) -> None:
        """Note how likely the model itself thought a token, before temperature and penalties."""
        if len(self._logprobs) < self._cascade.hold_tokens:
            self._logprobs.append(logprob)

    def push(self, text: str, *, ended: bool) -> list[str]:
        """Take the text of a step; the pieces that may be told now."""
        if self.confidence is None:
            self._held.append(text)
            if not ended and len(self._logprobs) < self._cascade.hold_tokens:
                return []
            self.confidence = self._cascade.confidence(self._logprobs)
            pieces, self._held = self._held, []
        else:
            pieces = [text]
        return [] if self.refused else [piece for piece in pieces if piece]
