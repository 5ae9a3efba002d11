"""Adapters in a batch: a row's bits don't depend on its neighbours."""

from __future__ import annotations

import pytest
import torch

from gateway.backends.local.network.adapters import Adapter, Adapting, Change


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    random = torch.Generator().manual_seed(1)
    down = torch.randn(8, 576, generator=random)
    up = torch.randn(192, 8, generator=random)
    return Adapter("mine", {(0, "qkv"): [Change(64, 256, down, up)]})


def changed(adapter: Adapter, rows: torch.Tensor) -> torch.Tensor:
    found = torch.zeros(len(rows), 320)
    Adapting.of([(adapter, 1)] * len(rows)).add(0, "qkv", rows, found)
    return found


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_has_the_same_bits_in_a_batch_of_any_size(adapter: Adapter, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    rows = torch.randn(70, 576, generator=torch.Generator().manual_seed(2))
    alone = torch.cat([changed(adapter, row[None]) for row in rows])
    for size in (2, 3, 4, 5, 8, 15, 16, 17, 33, 64, 70):
        assert torch.equal(changed(adapter, rows[:size]), alone[:size])
        assert torch.equal(changed(adapter, rows[-size:]), alone[-size:])
    torch.set_num_threads(before)


def test_what_is_added(adapter: Adapter) -> None:
    rows = torch.randn(3, 576, generator=torch.Generator().manual_seed(3))
    (change,) = adapter.changes[0, "qkv"]
    expected = rows.double() @ change.down.double().T @ change.up.double().T
    found = changed(adapter, rows)
    torch.testing.assert_close(found[:, 64:256].double(), expected, rtol=1e-4, atol=1e-3)
    assert not found[:, :64].any() and not found[:, 256:].any()
