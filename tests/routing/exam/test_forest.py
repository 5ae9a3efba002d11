"""A forest of two small trees by hand: values, and effects that add up to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.exam.forest import LEAF, Forest, Tree

STUMP = Tree([0, LEAF, LEAF], [5.0, 0, 0], [1, 0, 0], [2, 0, 0], [1.0, -1.0, 3.0])
DEEP = Tree(
    [1, 0, LEAF, LEAF, LEAF],
    [0.5, 9.0, 0, 0, 0],
    [1, 2, 0, 0, 0],
    [4, 3, 0, 0, 0],
    [0.0, 0.5, 0.25, 1.0, -2.0],
)
FOREST = Forest(["length", "share"], [STUMP, DEEP])


@pytest.mark.parametrize(
    ("quantities", "value"),
    [([5.0, 0.5], -0.75), ([5.1, 0.5], 3.25), ([9.1, 0.0], 4.0), ([0.0, 0.6], -3.0)],
)
def test_a_value_at_the_split_goes_left(quantities: list[float], value: float) -> None:
    assert FOREST.value(quantities) == value


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_base_and_effects_add_up_to_the_value(length: float, share: float) -> None:
    base, effects = FOREST.effects([length, share])
    assert base + sum(effects.values()) == pytest.approx(FOREST.value([length, share]))
    assert effects.keys() == {"length", "share"}


def test_without_trees_the_value_is_nothing() -> None:
    assert Forest(["length"], []).value([1.0]) == 0.0
