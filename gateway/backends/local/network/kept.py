"""Converted weights on the disk: a safetensors file of our own beside a model's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import orjson
import torch
from safetensors.torch import save_file

_DTYPES = {
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "I8": torch.int8,
    "U8": torch.uint8,
}
_LENGTH_BYTES = 8


def read(file: Path, about: Mapping[str, str]) -> dict[str, torch.Tensor] | None:
    """The tensors of a file that says the same `about` itself; None where there is no such file.

    Read rather than mapped: the kernels need aligned memory, and a mapped file counts twice.
    """
    try:
        with file.open("rb") as source:
            header = orjson.loads(source.read(int.from_bytes(source.read(_LENGTH_BYTES), "little")))
            if header.pop("__metadata__", None) != about:
                return None
            start = source.tell()
            found = {}
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                first, end = entry["data_offsets"]
                source.seek(start + first)
                data = torch.empty(end - first, dtype=torch.uint8)
                if source.readinto(data.numpy()) != end - first:
                    return None
                found[name] = data.view(_DTYPES[entry["dtype"]]).view(entry["shape"])
            return found
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(file: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]) -> None:
    """Whole or not at all: another process may read it at the same time. Raises OSError."""
    file.parent.mkdir(exist_ok=True)
    number, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
    os.close(number)
    try:
        save_file(dict(tensors), name, dict(about))
        Path(name).chmod(0o644)
        Path(name).rename(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
