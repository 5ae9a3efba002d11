"""What every answer needs to know of its logits: the likeliest token, and what normalises them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gateway.backends.local.network.kernels.library import library, turn


@dataclass(slots=True, frozen=True)
class Summary:
    """`normaliser` is the logarithm of the sum of all logits' powers of e."""

    likeliest: int
    normaliser: float


def summaries_of(rows: torch.Tensor) -> list[Summary]:
    """One for each row of float32 logits, of shape (rows, vocabulary); each row for itself."""
    if not len(rows):
        return []
    kernels = library()
    if kernels is None:
        return [Summary(int(row.argmax()), float(row.logsumexp(-1))) for row in rows]
    rows = rows.contiguous()
    count, vocabulary = rows.shape
    likeliest = torch.empty(count, dtype=torch.int64)
    normalisers = torch.empty(count)
    with turn:
        kernels.logits_summarise(
            rows.data_ptr(),
            count,
            vocabulary,
            likeliest.data_ptr(),
            normalisers.data_ptr(),
            torch.get_num_threads(),
        )
    return [Summary(*found) for found in zip(likeliest.tolist(), normalisers.tolist(), strict=True)]
