"""Attention over slots, so cut that a token's result never depends on what is computed beside it.

A sum rounds by how many terms it has and where they stand. So every query stands in a block of its
own position, and looks at whole blocks of keys of which those that it may not see are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from gateway.backends.local.network.interface import Part
from gateway.backends.local.network.shape import LlamaShape
from gateway.backends.local.network.slots import BLOCK, Slot, Slots, whole_blocks

#: Takes a layer's number and its rows of queries, keys and values, of shape
#: (rows, heads + 2 x key_heads, head_size); gives back (rows, heads x head_size).
Attend = Callable[[int, torch.Tensor], torch.Tensor]

#: Sequences are attended to at once as long as that costs at most so many times what they need.
_MOST_WASTE = 2.0


def step_attention(shape: LlamaShape, slots: Slots, memories: Sequence[Slot]) -> Attend:
    """For one token of each sequence; the memories must be in the order of their slots."""
    numbers = torch.tensor([memory.number for memory in memories])
    positions = torch.tensor([memory.length for memory in memories])
    parts = _runs(memories)
    runs = [(len(part), _run_of(shape, slots, part)) for part in parts]

    def attend(layer: int, qkv: torch.Tensor) -> torch.Tensor:
        slots.layers[layer][numbers, :, positions] = qkv[:, shape.heads :]
        queries = qkv[:, : shape.heads]
        start, found = 0, []
        for count, run in runs:
            found.append(run(layer, queries[start : start + count]))
            start += count
        return torch.cat(found) if len(found) > 1 else found[0]

    return attend


def _runs(memories: Sequence[Slot]) -> list[Sequence[Slot]]:
    """All at once where that wastes little, else each sequence for itself."""
    needed = sum(whole_blocks(memory.length + 1) for memory in memories)
    longest = whole_blocks(max(memory.length for memory in memories) + 1)
    span = memories[-1].number - memories[0].number + 1
    if span * longest <= _MOST_WASTE * needed:
        return [memories]
    return [[memory] for memory in memories]


def _run_of(shape: LlamaShape, slots: Slots, memories: Sequence[Slot]) -> Attend:
    """Queries of shape (sequences, heads, head_size) of slots that are near each other."""
    first = memories[0].number
    last = memories[-1].number + 1
    longest = whole_blocks(max(memory.length for memory in memories) + 1)
    lengths = torch.zeros(last - first, dtype=torch.int64)
    places = torch.tensor([memory.number - first for memory in memories])
    lengths[places] = torch.tensor([memory.length for memory in memories])
    hidden = torch.arange(longest) > lengths.unsqueeze(-1)
    mask = torch.zeros(hidden.shape, dtype=slots.layers[0].dtype)
    mask = mask.masked_fill_(hidden, float("-inf"))[:, None, None]
    # The heads that share a key are like queries at one position.
    sizes = (last - first, shape.key_heads, shape.heads // shape.key_heads, shape.head_size)
    has_gaps = last - first != len(memories)

    def run(layer: int, queries: torch.Tensor) -> torch.Tensor:
        if has_gaps:
            spread = queries.new_zeros(last - first, *queries.shape[1:])
            spread[places] = queries
            queries = spread
        found = functional.scaled_dot_product_attention(
            queries.reshape(sizes),
            slots.keys[layer][first:last, :, :longest],
            slots.values[layer][first:last, :, :longest],
            attn_mask=mask,
        ).reshape(last - first, -1)
        return found[places] if has_gaps else found

    return run


def prompt_attention(shape: LlamaShape, parts: Sequence[Part], padding: int) -> Attend:
    """For parts of prompts, one below the other, and rows of padding at the end."""
    ends = [part.memory.length + len(part.tokens) for part in parts]
    dtype = parts[0].memory.rows[0].dtype
    longest = whole_blocks(max(ends))
    # Each block sees all before it: its mask is as much of the right end of this as it has keys.
    mask = torch.zeros(BLOCK, longest, dtype=dtype)
    mask[:, longest - BLOCK :] = torch.full((BLOCK, BLOCK), float("-inf"), dtype=dtype).triu_(1)

    def attend(layer: int, qkv: torch.Tensor) -> torch.Tensor:
        start, found = 0, []
        for part in parts:
            end = start + len(part.tokens)
            found.append(_attended(shape, layer, qkv[start:end], part.memory, mask))
            start = end
        if padding:
            found.append(qkv.new_zeros(padding, shape.heads * shape.head_size))
        return torch.cat(found) if len(found) > 1 else found[0]

    return attend


def _attended(
    shape: LlamaShape, layer: int, qkv: torch.Tensor, memory: Slot, mask: torch.Tensor
) -> torch.Tensor:
    """One part's attention; its keys and values are remembered first."""
    start, count = memory.length, len(qkv)
    rows = memory.rows[layer]
    rows[:, start : start + count] = qkv[:, shape.heads :].transpose(0, 1)
    before = start % BLOCK
    after = -(start + count) % BLOCK
    groups = shape.heads // shape.key_heads
    asked = functional.pad(qkv[:, : shape.heads], (0, 0, 0, 0, before, after))
    asked = asked.view(-1, shape.key_heads, groups, shape.head_size).permute(1, 2, 0, 3)
    keys, values = rows[: shape.key_heads, None], rows[shape.key_heads :, None]
    found = []
    for at in range(0, before + count + after, BLOCK):
        seen = start - before + at + BLOCK
        sizes = (shape.key_heads, groups, seen, shape.head_size)
        found.append(
            functional.scaled_dot_product_attention(
                asked[:, :, at : at + BLOCK],
                keys[:, :, :seen].expand(sizes),
                values[:, :, :seen].expand(sizes),
                attn_mask=mask[:, mask.shape[1] - seen :],
            )
        )
    whole = torch.cat(found, 2) if len(found) > 1 else found[0]
    return whole[:, :, before : before + count].permute(2, 0, 1, 3).reshape(count, -1)
