"""How fast this machine reads memory: prints GB/s, the best of some reads with so many threads."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import torch

#: Bytes that each thread reads; no cache holds them.
_BYTES = 512 * 1024 * 1024
_READS = 4


def main() -> None:
    """Each thread adds up its own numbers, all at the same time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, required=True)
    threads = parser.parse_args().threads
    torch.set_num_threads(1)
    numbers = [torch.ones(_BYTES // 4) for _ in range(threads)]
    found = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_READS):
            began_s = time.perf_counter()
            list(pool.map(torch.sum, numbers))
            found.append(threads * _BYTES / 1e9 / (time.perf_counter() - began_s))
    print(f"{max(found):.2f}")


if __name__ == "__main__":
    main()
