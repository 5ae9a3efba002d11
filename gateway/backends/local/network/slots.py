"""The keys and values of the sequences in progress: one slot each, read as one batch."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

#: Attention always looks at a multiple of so many positions, hidden ones included: a sum over more
#: or fewer of them may round otherwise.
BLOCK = 64


def whole_blocks(tokens: int) -> int:
    """So many tokens, rounded up to whole blocks."""
    return -(-tokens // BLOCK) * BLOCK


@dataclass(slots=True, frozen=True)
class Sizes:
    """The shape of what is kept of one token."""

    layers: int
    key_heads: int
    head_size: int
    dtype: torch.dtype

    @property
    def bytes_per_token(self) -> int:
        """Keys and values in all layers."""
        itemsize: int = self.dtype.itemsize
        return 2 * self.layers * self.key_heads * self.head_size * itemsize


@dataclass(slots=True, frozen=True)
class Kept:
    """Keys and values by layer, shape (2 x key_heads, tokens, head_size)."""

    rows: Sequence[torch.Tensor]


class Slot:
    """Room for one sequence; what was in it before is still there until it is overwritten."""

    def __init__(self, slots: Slots, number: int) -> None:
        self._slots = slots
        self.number = number
        #: By layer, shape (2 x key_heads, capacity, head_size): a view of all slots' memory.
        self.rows = [layer[number] for layer in slots.layers]
        self.length = 0
        self.adapter: Any = None

    def take(self, other: Slot | Kept, length: int) -> bool:
        """Copy the first tokens of another sequence."""
        for mine, theirs in zip(self.rows, other.rows, strict=True):
            mine[:, :length] = theirs[:, :length]
        self.length = length
        return True

    def kept(self, length: int) -> Kept | None:
        """A copy of the first tokens that outlasts the slot's release."""
        return Kept([row[:, :length].clone() for row in self.rows])

    def release(self) -> None:
        """Give the slot back, and its memory to the system."""
        self._slots.release(self)


class Slots:
    """Memory for `count` sequences of `capacity` tokens.

    The address space is taken at once and memory as it is written to, so that the sum of what the
    sequences need may be bounded rather than their number times the longest.
    """

    def __init__(self, sizes: Sizes, count: int, capacity: int) -> None:
        capacity = whole_blocks(capacity)
        shape = (sizes.layers, count, 2 * sizes.key_heads, capacity, sizes.head_size)
        self._slot_bytes = capacity * sizes.bytes_per_token // sizes.layers
        self._layer_bytes = self._slot_bytes * count
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        self._mapping = mmap.mmap(-1, self._layer_bytes * sizes.layers, flags=flags)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):  # a huge page is a slot's whole head, mostly unused
            self._mapping.madvise(mmap.MADV_NOHUGEPAGE)
        whole = torch.from_numpy(np.frombuffer(self._mapping, dtype=np.uint8))
        #: By layer, shape (slots, 2 x key_heads, capacity, head_size).
        self.layers = list(whole.view(sizes.dtype).view(shape).unbind(0))
        self.keys = [layer[:, : sizes.key_heads] for layer in self.layers]
        self.values = [layer[:, sizes.key_heads :] for layer in self.layers]
        self._free = [Slot(self, number) for number in reversed(range(count))]

    def take(self) -> Slot:
        """An empty slot, the lowest that is free. Raises IndexError where none is."""
        slot = self._free.pop()
        slot.length = 0
        return slot

    def release(self, slot: Slot) -> None:
        """See `Slot.release`."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for layer in range(len(self.layers)):
                start = layer * self._layer_bytes + slot.number * self._slot_bytes
                first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
                length = (start + self._slot_bytes) // mmap.PAGESIZE * mmap.PAGESIZE - first
                if length > 0:
                    self._mapping.madvise(mmap.MADV_DONTNEED, first, length)
        slot.length = 0
        slot.adapter = None
        self._free.append(slot)
        self._free.sort(key=lambda one: -one.number)
