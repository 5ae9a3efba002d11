"""The forward pass of models of the Llama kind, with as few operations a step as can be.

Llama 1 to 3, SmolLM, Mistral, Qwen2, Phi-3, H2O-Danube3 and Solar. In a small model the time of a
step on a CPU goes into the number of operations as much as into the multiplications, so that query,
key and value are one matrix here, gate and up another, and nothing is done that one answer does
not need.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from gateway.backends.local.network.adapters import Adapter, Adapting, adapter_of
from gateway.backends.local.network.attention import Attend, prompt_attention, step_attention
from gateway.backends.local.network.interface import Part
from gateway.backends.local.network.linear import Linear, Vocabulary
from gateway.backends.local.network.low_rank import Matrices
from gateway.backends.local.network.shape import LlamaShape
from gateway.backends.local.network.slots import BLOCK, Sizes, Slot, Slots

#: Prompts are padded to a multiple of so many rows: a matrix product's rows come out the same,
#: bit for bit, at such sizes, so that what shares the batch makes no difference.
_ROWS = 64


@dataclass(slots=True, frozen=True)
class Block:
    """One layer's weights; norms have shape (hidden,)."""

    attention_norm: torch.Tensor
    qkv: Linear
    out: Linear
    feed_norm: torch.Tensor
    gate_up: Linear
    down: Linear


class LlamaNetwork:
    """A `Network`."""

    def __init__(
        self,
        shape: LlamaShape,
        embedding: Vocabulary,
        blocks: Sequence[Block],
        final_norm: torch.Tensor,
        head: Vocabulary,
    ) -> None:
        self._shape = shape
        self._embedding = embedding
        self._blocks = blocks
        self._norm = final_norm
        self._head = head
        self._dtype = final_norm.dtype
        self._sizes = Sizes(shape.layers, shape.key_heads, shape.head_size, self._dtype)
        self._slots = Slots(self._sizes, 1, BLOCK)
        self.bytes_per_token = self._sizes.bytes_per_token

    def adapter(self, name: str, matrices: Mapping[str, Matrices]) -> Adapter:
        """A LoRA adapter that memories may be made for. Raises AdapterMisfit."""
        shape = self._shape
        return adapter_of(name, matrices, shape.heads * shape.head_size)

    def open(self, sequences: int, tokens: int) -> None:
        """Make room for so many sequences, of so many tokens each at most."""
        self._slots = Slots(self._sizes, sequences, tokens)

    def memory(self, adapter: Adapter | None = None) -> Slot:
        """An empty memory. Raises IndexError where all are taken."""
        slot = self._slots.take()
        slot.adapter = adapter
        return slot

    def step(self, memories: Sequence[Slot], tokens: Sequence[int]) -> torch.Tensor:
        """Read one token of each sequence; float32 logits, shape (sequences, vocabulary)."""
        order = sorted(range(len(memories)), key=lambda index: memories[index].number)
        ordered = [memories[index] for index in order]
        attend = step_attention(self._shape, self._slots, ordered)
        positions = torch.tensor([memory.length for memory in ordered])
        adapting = Adapting.of([(memory.adapter, 1) for memory in ordered])
        given = torch.tensor([tokens[index] for index in order])
        states = self._run(given, positions, attend, adapting, is_prompt=False)
        found = self._head.logits(states)
        for memory in memories:
            memory.length += 1
        logits = torch.empty_like(found)
        logits[order] = found
        return logits

    def read(self, parts: Sequence[Part]) -> torch.Tensor:
        """Read parts of prompts; float32 logits, a row for each part that wants them."""
        padding = -sum(len(part.tokens) for part in parts) % _ROWS
        tokens = [token for part in parts for token in part.tokens] + [0] * padding
        places = [torch.arange(p.memory.length, p.memory.length + len(p.tokens)) for p in parts]
        positions = torch.cat([*places, torch.zeros(padding, dtype=torch.int64)])
        attend = prompt_attention(self._shape, parts, padding)
        adapting = Adapting.of([(part.memory.adapter, len(part.tokens)) for part in parts])
        states = self._run(torch.tensor(tokens), positions, attend, adapting, is_prompt=True)
        ends = itertools.accumulate(len(part.tokens) for part in parts)
        lasts = [end - 1 for part, end in zip(parts, ends, strict=True) if part.wants_logits]
        logits = self._head.logits(states[lasts]) if lasts else torch.empty(0)
        for part in parts:  # only now: what fails is read again
            part.memory.length += len(part.tokens)
        return logits

    def _run(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        attend: Attend,
        adapting: Adapting,
        *,
        is_prompt: bool,
    ) -> torch.Tensor:
        """The states of rows of tokens after the last norm, shape (rows, hidden)."""
        shape = self._shape
        rows = len(tokens)
        hidden, epsilon = (shape.hidden,), shape.epsilon
        rotated = shape.heads + shape.key_heads
        heads = (rows, rotated + shape.key_heads, shape.head_size)
        half = shape.head_size // 2
        cosine, sine = self._rotation(positions)
        states = self._embedding.embedded(tokens)
        for number, block in enumerate(self._blocks):
            normed = functional.rms_norm(states, hidden, block.attention_norm, epsilon)
            qkv = block.qkv.many(normed) if is_prompt else block.qkv.few(normed)
            adapting.add(number, "qkv", normed, qkv)
            qkv = qkv.view(heads)
            turning = qkv[:, :rotated]
            turning.copy_(torch.addcmul(turning * cosine, turning.roll(half, -1), sine))
            seen = attend(number, qkv)
            mixed = block.out.many(seen) if is_prompt else block.out.few(seen)
            adapting.add(number, "out", seen, mixed)
            states = states + mixed
            normed = functional.rms_norm(states, hidden, block.feed_norm, epsilon)
            gate_up = block.gate_up.many(normed) if is_prompt else block.gate_up.few(normed)
            adapting.add(number, "gate_up", normed, gate_up)
            gate, up = gate_up.chunk(2, -1)
            fed = functional.silu(gate).mul_(up)
            mixed = block.down.many(fed) if is_prompt else block.down.few(fed)
            adapting.add(number, "down", fed, mixed)
            states = states + mixed
        return functional.rms_norm(states, hidden, self._norm, epsilon)

    def _rotation(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and signed sines by position, shape (rows, 1, head_size)."""
        angles = torch.outer(positions.float(), self._shape.frequencies)
        cosine, sine = angles.cos(), angles.sin()
        whole = torch.cat((cosine, cosine), -1).to(self._dtype)
        signed = torch.cat((-sine, sine), -1).to(self._dtype)
        return whole[:, None], signed[:, None]
