"""LoRA adapters beside the weights: each row of a batch may have another one, or none.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(slots=True, frozen=True)
class Change:
    """What an adapter adds to columns `start`..`end` of a matrix's output: `up` (`down` x).

    `down` is float32 of shape (rank, in); `up` (end - start, rank), scaled.
    """

    start: int
    end: int
    down: torch.Tensor
    up: torch.Tensor


@dataclass(slots=True, frozen=True)
class Adapter:
    """A named set of changes by layer and matrix (`qkv`, `out`, `gate_up` or `down`)."""

    name: str
    changes: Mapping[tuple[int, str], Sequence[Change]]


class Adapting:
    """The adapters of a batch, each with the rows that asked for it."""

    def __init__(self, users: Sequence[tuple[Adapter, torch.Tensor]]) -> None:
        self._users = users

    @classmethod
    def of(cls, counts: Sequence[tuple[Adapter | None, int]]) -> Adapting:
        """From each sequence's adapter and number of rows, in the order of the rows."""
        if all(adapter is None for adapter, _ in counts):
            return _NOTHING
        users: dict[str, tuple[Adapter, list[int]]] = {}
        start = 0
        for adapter, count in counts:
            if adapter is not None:
                rows = users.setdefault(adapter.name, (adapter, []))[1]
                rows.extend(range(start, start + count))
            start += count
        return cls([(adapter, torch.tensor(rows)) for adapter, rows in users.values()])

    def add(self, layer: int, matrix: str, rows: torch.Tensor, found: torch.Tensor) -> None:
        """Add to a matrix's output, in place, what the adapters change of it."""
        for adapter, mine in self._users:
            for change in adapter.changes.get((layer, matrix), ()):
                low = functional.linear(rows[mine].float(), change.down)
                added = functional.linear(low, change.up).to(found.dtype)
                found[mine, change.start : change.end] += added


_NOTHING = Adapting(())
