"""The forward pass by our own kernels: a step or a piece of a prompt is one call."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Mapping, Sequence
from ctypes import POINTER, byref, c_int32, pointer
from typing import Any

import torch

from gateway.backends.local.network.adapters import Adapter, adapter_of
from gateway.backends.local.network.interface import Part
from gateway.backends.local.network.kernels import library as native
from gateway.backends.local.network.kernels.codes import GROUP, LANES, Codes
from gateway.backends.local.network.low_rank import Matrices
from gateway.backends.local.network.shape import LlamaShape
from gateway.backends.local.network.slots import BLOCK, Sizes, Slot, Slots

#: A layer's matrices in the order of `struct layer`.
MATRICES = ("qkv", "out", "gate_up", "down")
#: Rows that are read at once, which bounds the memory that a pass takes.
_MOST_ROWS = 256


def runs(shape: LlamaShape, feed: int) -> bool:
    """Whether a network of this shape, with so many numbers between its feeds, can be run here."""
    inputs = (shape.hidden, shape.heads * shape.head_size, feed)
    fits = not any(size % GROUP for size in inputs) and shape.head_size % LANES == 0
    return fits and native.library() is not None


class KernelNetwork:
    """A `Network` of the Llama kind; every row is computed alike, of a prompt or of a step."""

    def __init__(
        self,
        shape: LlamaShape,
        matrices: Mapping[str, Codes],
        floats: Mapping[str, torch.Tensor],
    ) -> None:
        """`matrices` has `embedding`, `head` and `0.qkv` to `N.down`; `floats` their biases, as
        `0.qkv.bias`, and the norms: `norm`, `0.attention_norm`, `0.feed_norm` and so on.

        Raises ValueError where their sizes don't fit together.
        """
        self._shape = shape
        self._matrices = matrices
        self._floats = {name: tensor.float().contiguous() for name, tensor in floats.items()}
        self._check()
        self._frequencies = shape.frequencies.float().contiguous()
        self._layers = (native.Layer * shape.layers)(*map(self._layer, range(shape.layers)))
        self._vocabulary = matrices["head"].outputs
        self._network = native.Network(
            layers=self._layers,
            embedding=self._matrix("embedding"),
            head=self._matrix("head"),
            norm=self._floats["norm"].data_ptr(),
            frequencies=self._frequencies.data_ptr(),
            count=shape.layers,
            hidden=shape.hidden,
            heads=shape.heads,
            key_heads=shape.key_heads,
            head_size=shape.head_size,
            feed=matrices["0.down"].inputs,
            epsilon=shape.epsilon,
        )
        self._adapters: dict[str, Any] = {}
        self._sizes = Sizes(shape.layers, shape.key_heads, shape.head_size, torch.bfloat16)
        self.bytes_per_token = self._sizes.bytes_per_token
        self.open(1, BLOCK)

    def _check(self) -> None:
        shape, feed = self._shape, self._matrices["0.down"].inputs
        queries, keys = shape.heads * shape.head_size, shape.key_heads * shape.head_size
        sizes = {
            "qkv": (queries + 2 * keys, shape.hidden),
            "out": (shape.hidden, queries),
            "gate_up": (2 * feed, shape.hidden),
            "down": (shape.hidden, feed),
        }
        expected = {f"{n}.{name}": sizes[name] for n in range(shape.layers) for name in MATRICES}
        vocabulary = self._matrices["embedding"].outputs
        expected |= {"embedding": (vocabulary, shape.hidden), "head": (vocabulary, shape.hidden)}
        for name, size in expected.items():
            one = self._matrices[name]
            if (one.outputs, one.inputs) != size:
                raise ValueError(f"{name} is of {one.outputs} x {one.inputs}, not {size}")
            bias = self._floats.get(f"{name}.bias")
            if bias is not None and len(bias) != one.outputs:
                raise ValueError(f"{name} has {one.outputs} outputs and {len(bias)} biases")
        norms = (f"{n}.{name}_norm" for n in range(shape.layers) for name in ("attention", "feed"))
        for name in ("norm", *norms):
            if len(self._floats[name]) != shape.hidden:
                raise ValueError(f"{name} has {len(self._floats[name])} numbers")
        if shape.heads % shape.key_heads or not runs(shape, feed):
            raise ValueError("no kernel runs a network of this shape")

    def _layer(self, number: int) -> native.Layer:
        return native.Layer(
            attention_norm=self._floats[f"{number}.attention_norm"].data_ptr(),
            feed_norm=self._floats[f"{number}.feed_norm"].data_ptr(),
            matrices=(native.Matrix * 4)(*(self._matrix(f"{number}.{n}") for n in MATRICES)),
        )

    def _matrix(self, name: str) -> native.Matrix:
        one, bias = self._matrices[name], self._floats.get(f"{name}.bias")
        return native.Matrix(
            codes=one.codes.data_ptr(),
            levels=one.levels.data_ptr(),
            bias=None if bias is None else bias.data_ptr(),
            outputs=one.outputs,
            inputs=one.inputs,
            bits=one.bits,
        )

    def adapter(self, name: str, matrices: Mapping[str, Matrices]) -> Adapter:
        """A LoRA adapter that memories may be made for. Raises AdapterMisfit."""
        shape = self._shape
        adapter = adapter_of(name, matrices, shape.heads * shape.head_size)
        self._adapters[name] = _NativeAdapter(adapter, shape.layers)
        return adapter

    def open(self, sequences: int, tokens: int) -> None:
        """Make room for so many sequences, of so many tokens each at most."""
        self._slots = Slots(self._sizes, sequences, tokens)
        first = self._slots.layers[0]
        self._memory = native.Memory(
            base=first.data_ptr(),
            layer_stride=first.numel(),
            slot_stride=first.stride(0),
            capacity=first.shape[2],
        )

    def memory(self, adapter: Adapter | None = None) -> Slot:
        """An empty memory. Raises IndexError where all are taken."""
        slot = self._slots.take()
        slot.adapter = adapter
        return slot

    def step(self, memories: Sequence[Slot], tokens: Sequence[int]) -> torch.Tensor:
        """Read one token of each sequence; float32 logits, shape (sequences, vocabulary)."""
        pairs = zip(memories, tokens, strict=True)
        return self.read([Part(memory, [token], wants_logits=True) for memory, token in pairs])

    def read(self, parts: Sequence[Part]) -> torch.Tensor:
        """Read parts of prompts; float32 logits, a row for each part that wants them."""
        tokens: list[int] = []
        slots: list[int] = []
        positions: list[int] = []
        adapters: list[Any] = []
        wanted: list[int] = []
        for part in parts:
            memory, count = part.memory, len(part.tokens)
            tokens += part.tokens
            slots += [memory.number] * count
            positions += range(memory.length, memory.length + count)
            adapters += [memory.adapter and self._adapters[memory.adapter.name]] * count
            if part.wants_logits:
                wanted.append(len(tokens) - 1)
        self._check_rows(tokens, positions)
        logits = torch.empty(len(wanted), self._vocabulary)
        done = 0
        for start in range(0, len(tokens), _MOST_ROWS):
            end = min(start + _MOST_ROWS, len(tokens))
            mine = [row - start for row in wanted if start <= row < end]
            rows = slice(start, end)
            self._pass(
                tokens[rows], slots[rows], positions[rows], adapters[rows], mine, logits[done:]
            )
            done += len(mine)
        for part in parts:
            part.memory.length += len(part.tokens)
        return logits

    def _check_rows(self, tokens: Sequence[int], positions: Sequence[int]) -> None:
        """What the kernels rely on. Raises IndexError."""
        if not tokens:
            raise IndexError("there is nothing to read")
        if min(tokens) < 0 or max(tokens) >= self._matrices["embedding"].outputs:
            raise IndexError("a token is none of the vocabulary's")
        if max(positions) >= self._memory.capacity:
            raise IndexError("a sequence is longer than its slot")

    def _pass(
        self,
        tokens: Sequence[int],
        slots: Sequence[int],
        positions: Sequence[int],
        adapters: Sequence[Any],
        wanted: Sequence[int],
        logits: torch.Tensor,
    ) -> None:
        rows = c_int32 * len(tokens)
        batch = native.Batch(
            tokens=rows(*tokens),
            slots=rows(*slots),
            positions=rows(*positions),
            wanted=(c_int32 * len(wanted))(*wanted),
            logits=logits.data_ptr(),
            rows=len(tokens),
            wanted_rows=len(wanted),
        )
        if any(adapters):
            kind = POINTER(native.Adapter) * len(tokens)
            batch.adapters = kind(*(one and pointer(one.adapter) for one in adapters))
        with native.turn:
            status = native.library().network_read(
                byref(self._network), byref(self._memory), byref(batch), torch.get_num_threads()
            )
        if status:
            raise MemoryError("the local model's pass found no memory")


class _NativeAdapter:
    """An adapter's changes as the kernels take them, by layer and matrix."""

    def __init__(self, adapter: Adapter, layers: int) -> None:
        places = itertools.product(range(layers), MATRICES)
        by_place = [adapter.changes.get(place, ()) for place in places]
        ordered = [change for changes in by_place for change in changes]
        # Transposed, so that what a rank adds lies together.
        self._ups = [change.up.t().contiguous() for change in ordered]
        self._downs = [change.down for change in ordered]
        changes = (native.Change * len(ordered))(
            *(
                native.Change(down.data_ptr(), up.data_ptr(), one.start, one.end, len(down))
                for one, down, up in zip(ordered, self._downs, self._ups, strict=True)
            )
        )
        firsts = itertools.accumulate(map(len, by_place), initial=0)
        first = (c_int32 * (len(by_place) + 1))(*firsts)
        self.adapter = native.Adapter(changes, ctypes.cast(first, POINTER(c_int32)))
        self._kept = (changes, first)
