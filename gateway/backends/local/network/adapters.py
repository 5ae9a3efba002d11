"""LoRA adapters beside the weights: each row of a batch may have another one, or none.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from gateway.backends.local.adapters import AdapterMisfit
from gateway.backends.local.network.low_rank import Matrices

#: Rows that are multiplied at a time: always so many, because a product of another size may add up
#: in another order, and a row's bits would depend on who else asks for the adapter.
_ROWS = 16


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


def adapter_of(name: str, matrices: Mapping[str, Matrices], queries: int) -> Adapter:
    """An adapter of a network whose queries are so many numbers, by its checkpoint's names.

    Raises AdapterMisfit for a layer that has none of these names.
    """
    changes: dict[tuple[int, str], list[Change]] = {}
    for layer, (down, up) in matrices.items():
        found = _LAYER.fullmatch(layer)
        if found is None or found[2] not in _PLACES:
            raise AdapterMisfit(f"{layer} is no layer that this network can change")
        matrix, part = _PLACES[found[2]]
        outputs = up.shape[0]
        # Keys and values are as many numbers as each other, and so are gate and up.
        start = {"whole": 0, "first": 0, "middle": queries, "after keys": queries + outputs}.get(
            part, outputs
        )
        change = Change(start, start + outputs, down.contiguous(), up.contiguous())
        changes.setdefault((int(found[1]), matrix), []).append(change)
    return Adapter(name, changes)


_LAYER = re.compile(r"model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)")
#: Checkpoints' matrices as parts of ours.
_PLACES: Mapping[str, tuple[str, str]] = {
    "q_proj": ("qkv", "first"),
    "k_proj": ("qkv", "middle"),
    "v_proj": ("qkv", "after keys"),
    "qkv_proj": ("qkv", "whole"),
    "o_proj": ("out", "whole"),
    "gate_proj": ("gate_up", "first"),
    "up_proj": ("gate_up", "second"),
    "gate_up_proj": ("gate_up", "whole"),
    "down_proj": ("down", "whole"),
}


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
                added = _low_rank(rows[mine].float(), change).to(found.dtype)
                found[mine, change.start : change.end] += added


def _low_rank(rows: torch.Tensor, change: Change) -> torch.Tensor:
    missing = -len(rows) % _ROWS
    found = [
        functional.linear(functional.linear(block, change.down), change.up)
        for block in functional.pad(rows, (0, 0, 0, missing)).split(_ROWS)
    ]
    return torch.cat(found)[: len(rows)]


_NOTHING = Adapting(())
