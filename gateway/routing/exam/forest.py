"""A sum of regression trees, evaluated without any library, that explains itself exactly.

Each step from a node to its child changes the expected value; that change is the effect of the
quantity that the node splits on (Saabas 2014), so the effects and the base add up to the value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEAF = -1


@dataclass(slots=True, frozen=True)
class Tree:
    """Parallel lists, one entry a node, the root first.

    At a node with `quantity` q a value ≤ `split` goes to `left`, else to `right`; a leaf's
    quantity is `LEAF`. `value` is the tree's mean over the training questions in the node.
    """

    quantity: Sequence[int]
    split: Sequence[float]
    left: Sequence[int]
    right: Sequence[int]
    value: Sequence[float]


class Forest:
    """Trees over named quantities."""

    def __init__(self, names: Sequence[str], trees: Sequence[Tree]) -> None:
        self.names = tuple(names)
        self.trees = tuple(trees)
        self._unpacked = [(t.quantity, t.split, t.left, t.right, t.value) for t in trees]

    @classmethod
    def of(cls, artefact: Mapping[str, Any]) -> Forest:
        """From `{"names": […], "trees": [[quantity, split, left, right, value], …]}`."""
        return cls(artefact["names"], [Tree(*tree) for tree in artefact["trees"]])

    def value(self, quantities: Sequence[float]) -> float:
        """The sum of all trees for one question."""
        total = 0.0
        for quantity, split, left, right, value in self._unpacked:
            node = 0
            while (asked := quantity[node]) >= 0:
                node = left[node] if quantities[asked] <= split[node] else right[node]
            total += value[node]
        return total

    def effects(self, quantities: Sequence[float]) -> tuple[float, dict[str, float]]:
        """The base value, and what each quantity added to it."""
        base, effects = 0.0, dict.fromkeys(self.names, 0.0)
        for tree in self.trees:
            node = 0
            base += tree.value[0]
            while (asked := tree.quantity[node]) >= 0:
                went_left = quantities[asked] <= tree.split[node]
                child = tree.left[node] if went_left else tree.right[node]
                effects[self.names[asked]] += tree.value[child] - tree.value[node]
                node = child
        return base, effects
