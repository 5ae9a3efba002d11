"""Which kernels are there."""

import ctypes
from importlib import machinery
from pathlib import Path

import pytest

from gateway.backends.local.network.kernels import library


def test_without_kernels_that_can_be_loaded_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    assert library.library.__wrapped__() is None
    for suffix in machinery.EXTENSION_SUFFIXES:
        (tmp_path / f"compiled{suffix}").write_bytes(b"of another machine")
    with pytest.raises(OSError, match="compiled"):
        ctypes.CDLL(str(next(tmp_path.iterdir())))
    assert library.library.__wrapped__() is None
