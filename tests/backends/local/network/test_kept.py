"""Converted weights on the disk, and all that can be wrong with them."""

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gateway.backends.local.network.kept import read, write

ABOUT = {"format": "1"}
TENSORS = {"a": torch.arange(12, dtype=torch.int8).view(3, 4), "b": torch.rand(5).bfloat16()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "converted" / "weights.safetensors"


def test_what_was_written_is_read(file: Path) -> None:
    assert read(file, ABOUT) is None
    write(file, TENSORS, ABOUT)
    found = read(file, ABOUT)
    assert found is not None
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())
    assert read(file, {"format": "2"}) is None
    assert list(file.parent.iterdir()) == [file]


def _longer_header(data: bytes) -> bytes:
    return (1 << 62).to_bytes(8, "little") + data[8:]


def _longest_header(data: bytes) -> bytes:
    return b"\xff" * 8 + data[8:]


def _list_header(data: bytes) -> bytes:
    return (2).to_bytes(8, "little") + b"[]" + data


def _other_shape(data: bytes) -> bytes:
    return data.replace(b"[3,4]", b"[3,9]")


def _backward(data: bytes) -> bytes:
    return data.replace(b"[0,10]", b"[9,10]").replace(b"[10,22]", b"[22,10]")


@pytest.mark.parametrize(
    "broken",
    [
        _longer_header,
        _longest_header,
        _list_header,
        _other_shape,
        _backward,
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: b"\0" * len(data),
    ],
)
def test_a_broken_file_is_none(file: Path, broken: Callable[[bytes], bytes]) -> None:
    write(file, TENSORS, ABOUT)
    file.write_bytes(broken(file.read_bytes()))
    assert read(file, ABOUT) is None


def test_a_full_disk_is_told_and_nothing_is_left(file: Path) -> None:
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write(file, {"a": torch.zeros(10_000)}, ABOUT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not list(file.parent.iterdir())


def test_what_a_dead_process_left_is_removed(file: Path) -> None:
    file.parent.mkdir()
    left, other = file.parent / "tmpx.part", file.parent / "tmpy.part"
    left.write_bytes(b"x")
    other.write_bytes(b"x")
    hour_ago_s = time.time() - 3600
    os.utime(left, (hour_ago_s, hour_ago_s))
    write(file, TENSORS, ABOUT)
    assert sorted(file.parent.iterdir()) == sorted([file, other])
