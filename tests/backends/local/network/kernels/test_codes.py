"""Weights as codes: what they stand for is what was coded."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.backends.local.network.kernels.codes import GROUP, LANES, Codes, coded


def decoded(codes: Codes) -> torch.Tensor:
    """The weights of shape (out, in), by the words of `network.h` alone."""
    tiles, groups = codes.codes.shape[:2]
    parts = codes.codes.int()
    levels = codes.levels.float()
    if codes.bits == 4:
        parts = torch.cat((parts & 15, parts >> 4), 2)
        lows = levels[:, :, 1]
    else:
        lows = -128 * levels[:, :, 0]
    by_input = parts.view(tiles, groups, 8, LANES, 4).permute(0, 3, 1, 2, 4)
    weights = by_input.reshape(tiles, LANES, groups, GROUP) * levels[:, :, 0].mT.unsqueeze(-1)
    return (weights + lows.mT.unsqueeze(-1)).view(tiles * LANES, -1)[: codes.outputs]


sizes = st.tuples(st.integers(1, 70), st.integers(1, 6))


@settings(deadline=None, max_examples=30)
@given(sizes, st.integers(0, 2**32), st.floats(-12, 12))
def test_eight_bits_are_off_by_half_a_step_at_most(
    size: tuple[int, int], seed: int, power: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(size[0], size[1] * GROUP, generator=generator) * 2**power
    codes = coded(weight)
    assert codes.bits == 8
    assert (codes.outputs, codes.inputs) == weight.shape
    most = weight.view(size[0], -1, GROUP).abs().amax(-1, keepdim=True)
    off = (decoded(codes) - weight).view(size[0], -1, GROUP).abs() / most
    assert off.max() < 0.52 / 127 + 0.001  # the scale is rounded too


@settings(deadline=None, max_examples=30)
@given(sizes, st.integers(0, 2**32))
def test_sixteen_levels_are_four_bits_and_nothing_is_lost(size: tuple[int, int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 16, (size[0], size[1], GROUP), generator=generator).float()
    levels[..., :2] = torch.tensor([0.0, 15.0])
    scale = torch.rand(size[0], size[1], 1, generator=generator).add(0.1).half().float()
    low = torch.randn(size[0], size[1], 1, generator=generator).half().float()
    weight = (levels * scale + low).view(size[0], -1)
    codes = coded(weight)
    assert codes.bits == 4
    torch.testing.assert_close(decoded(codes), weight, rtol=1e-3, atol=2e-3)


def test_a_matrix_that_is_coded_in_parts_has_one_format() -> None:
    """Its first four thousand outputs lie on two levels, the others anywhere."""
    torch.manual_seed(0)
    weight = torch.randn(4100, GROUP)
    weight[:4096] = weight[:4096].sign()
    codes = coded(weight)
    assert codes.bits == 8
    torch.testing.assert_close(decoded(codes), weight, rtol=0.01, atol=0.02)


def test_weights_of_nothing_stay_nothing() -> None:
    assert not decoded(coded(torch.zeros(3, 64))).any()
    assert not decoded(coded(torch.full((3, 64), 1e-12))).abs().max() > 1e-6


def test_inputs_that_are_no_whole_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        coded(torch.zeros(16, 33))
