"""What is said of logits is what torch says of them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from gateway.backends.local.network import summary
from gateway.backends.local.network.summary import Summary, summaries_of


@pytest.mark.parametrize("vocabulary", [1, 15, 16, 77, 49152])
@pytest.mark.parametrize("has_kernels", [True, False])
def test_the_likeliest_and_the_normaliser(
    vocabulary: int, has_kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_kernels:
        monkeypatch.setattr(summary, "library", lambda: None)
    torch.manual_seed(0)
    rows = torch.randn(5, vocabulary) * 10
    rows[1] -= 300
    rows[2, : vocabulary // 2] = float("-inf")
    rows[3, vocabulary // 2 :] = rows[3].max() + 1  # the first of those that tie
    found = summaries_of(rows)
    assert [one.likeliest for one in found] == rows.argmax(-1).tolist()
    normalisers = torch.tensor([one.normaliser for one in found])
    torch.testing.assert_close(normalisers, rows.logsumexp(-1), rtol=1e-6, atol=2e-6)
    assert summaries_of(rows[2:3])[0] == found[2]


def test_callers_in_several_threads_take_turns() -> None:
    rows = torch.randn(8, 49152)
    expected = summaries_of(rows)
    before = torch.get_num_threads()

    def ask(_: int) -> list[Summary]:
        torch.set_num_threads(2)
        return summaries_of(rows)

    with ThreadPoolExecutor(3) as pool:
        assert all(found == expected for found in pool.map(ask, range(300)))
    torch.set_num_threads(before)
