"""What was read before: beginnings of prompts and of conversations, kept while there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.backends.local.network.slots import BLOCK


@dataclass(slots=True)
class Prefix:
    """Token ids and the memory of a network that has read them with an adapter, or with none.

    Only answers with the same `owner` may know that they were read.
    """

    tokens: Sequence[int]
    memory: Any
    adapter: Any
    owner: str | None = None

    def suits(self, adapter: Any, owner: str | None) -> bool:
        """Whether an answer with this adapter and owner may go on from it."""
        return self.adapter is adapter and self.owner == owner


class Prefixes:
    """The latest ones that fit; every length is in tokens."""

    def __init__(self) -> None:
        self._kept: list[Prefix] = []

    @property
    def size(self) -> int:
        """How many tokens are kept."""
        return sum(len(prefix.tokens) for prefix in self._kept)

    def keep(self, prefix: Prefix) -> None:
        """Keep it as the latest, in place of those that it begins with."""
        covered = [one for one in self._kept if _covers(prefix, one)]
        self._kept = [one for one in self._kept if one not in covered]
        self._kept.append(prefix)

    def holds(self, tokens: Sequence[int], adapter: Any, owner: str | None = None) -> bool:
        """Whether the tokens are kept already; then they are the latest."""
        found = self.longest(tokens, adapter, owner)
        return found is not None and shared(found.tokens, tokens) >= len(tokens)

    def longest(
        self, tokens: Sequence[int], adapter: Any, owner: str | None = None
    ) -> Prefix | None:
        """The one that shares the most whole blocks with the tokens, now the latest."""
        fitting = [one for one in self._kept if one.suits(adapter, owner)]
        best = max(fitting, key=lambda one: shared(one.tokens, tokens), default=None)
        if best is None or shared(best.tokens, tokens) == 0:
            return None
        self._kept = [*(one for one in self._kept if one is not best), best]
        return best

    def shrink(self, most: int) -> None:
        """Forget the oldest until at most so many tokens are kept."""
        while self._kept and self.size > most:
            del self._kept[0]


def _covers(prefix: Prefix, other: Prefix) -> bool:
    is_same = other.suits(prefix.adapter, prefix.owner)
    return is_same and shared(prefix.tokens, other.tokens) >= len(other.tokens)


def shared(tokens: Sequence[int], others: Sequence[int]) -> int:
    """How many tokens both begin with, in whole blocks."""
    most = min(len(tokens), len(others)) // BLOCK * BLOCK
    for start in range(0, most, BLOCK):
        if tokens[start : start + BLOCK] != others[start : start + BLOCK]:
            return start
    return most
