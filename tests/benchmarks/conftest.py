from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.prompts import Requests
from benchmarks.systems import simulated_upstream

#: Requests to the upstream, with further fields in their bodies.
Ask = Callable[..., Requests]


@pytest.fixture(scope="module")
def upstream_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("upstream")
    with simulated_upstream(folder) as (port, _):
        yield port


@pytest.fixture(scope="module")
def ask(upstream_port: int) -> Ask:
    serials = itertools.count()

    def requests(**fields: Any) -> Requests:
        return Requests(upstream_port, "gpt-4o", None, serials, fields)

    return requests
