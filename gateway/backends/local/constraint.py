"""One answer held to a form: a JSON schema, or calls of tools. The grammars are llguidance's.

https://github.com/guidance-ai/llguidance (MIT).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gateway.core.errors import InvalidRequest


class Constraint:
    """One answer's form: what may come next."""

    def __init__(self, matcher: Any, tokens: int, vocabulary: int, param: str) -> None:
        """The matcher knows `tokens` ids, the network gives logits for the first `vocabulary`.

        `param` is the field that asks for the form.
        """
        self._matcher = matcher
        self._param = param
        self._bits = np.zeros((1, -(-tokens // 32)), dtype=np.int32)
        self._vocabulary = vocabulary

    @property
    def is_complete(self) -> bool:
        """Whether nothing can follow any more."""
        return bool(self._matcher.is_stopped())

    def restrict(self, logits: torch.Tensor) -> None:
        """Make every token impossible that can't come next; in place, shape (vocabulary,)."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        bits = np.unpackbits(self._bits.view(np.uint8)[0], bitorder="little")
        allowed = torch.from_numpy(bits[: self._vocabulary]).bool()
        logits.masked_fill_(~allowed, float("-inf"))

    def accept(self, token: int) -> None:
        """Take the token that was chosen. Raises InvalidRequest where the form then has no end."""
        if not self._matcher.consume_token(token):
            raise refusal(self._param, str(self._matcher.get_error()))

    def check(self) -> None:
        """Take a first token for a trial. Raises InvalidRequest where none leads anywhere."""
        logits = torch.zeros(self._vocabulary)
        self.restrict(logits)
        if self._matcher.is_error():
            raise refusal(self._param, str(self._matcher.get_error()))
        self.accept(int(logits.argmax()))


def refusal(param: str, reason: object) -> InvalidRequest:
    """That an answer can't be held to what a field asks for."""
    first_line = str(reason).strip().partition("\n")[0]
    said = f"The local model can't be held to {param}: {first_line}"
    return InvalidRequest(said, param=param)
