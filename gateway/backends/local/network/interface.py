"""What the engine asks of a network, whichever family's it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from gateway.backends.local.network.low_rank import Matrices


class Memory(Protocol):
    """What a network keeps of the tokens of one sequence: their keys and values.

    `length` tokens are kept. `adapter` is the LoRA adapter that they were read with.
    """

    length: int
    adapter: Any

    def take(self, other: Any, length: int) -> bool:
        """Copy the first tokens of another memory or of a kept one; False where that can't be."""

    def kept(self, length: int) -> Any | None:
        """A copy of the first tokens that outlasts `release`; None where that can't be."""

    def release(self) -> None:
        """Give the memory back."""


@dataclass(slots=True)
class Part:
    """Tokens that a sequence has still to read; its logits are wanted after the last of them."""

    memory: Any
    tokens: list[int]
    wants_logits: bool


class Network(Protocol):
    """A language model's forward pass.

    Rows never look at each other: a sequence's logits are the same whatever shares its batch.
    """

    #: What one token takes in a memory.
    bytes_per_token: int

    def adapter(self, name: str, matrices: Mapping[str, Matrices]) -> Any:
        """A LoRA adapter that memories may be made for. Raises AdapterMisfit."""

    def open(self, sequences: int, tokens: int) -> None:
        """Make room for so many sequences, of so many tokens each at most."""

    def memory(self, adapter: Any = None) -> Any:
        """An empty memory."""

    def read(self, parts: Sequence[Part]) -> torch.Tensor:
        """Read parts of prompts; float32 logits, a row for each part that wants them."""

    def step(self, memories: Sequence[Any], tokens: Sequence[int]) -> torch.Tensor:
        """Read one token of each sequence; float32 logits, shape (sequences, vocabulary)."""
