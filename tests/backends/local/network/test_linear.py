"""Matrices of sizes that no kernel likes."""

import subprocess
import sys

#: In a process of its own: a kernel that reads past the end may end it.
ODD_SIZES = """
import itertools, sys, torch
from gateway.backends.local.network.linear import Int8Linear, quantised

torch.set_num_threads(1)
torch.manual_seed(0)
sizes = itertools.product((1, 5, 17, 64), (1, 8, 20, 31, 33, 48, 100))
for outputs, inputs in sizes:
    weight, scale = quantised(torch.randn(outputs, inputs))
    rows = torch.randn(5, inputs).bfloat16()
    exact = rows.float() @ (weight.float() * scale.float().unsqueeze(-1)).T
    linear = Int8Linear(weight, scale)
    for found in (linear.few(rows), linear.many(rows), linear.logits(rows)):
        torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=0.05)
    assert torch.equal(linear.few(rows), torch.cat([linear.few(row) for row in rows.split(1)]))
    assert linear.embedded(torch.tensor([0])).shape == (1, inputs)
"""


def test_matrices_of_any_size_are_multiplied() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ODD_SIZES], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
