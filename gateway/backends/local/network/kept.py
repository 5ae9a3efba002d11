"""Converted weights on the disk: a safetensors file of our own beside a model's."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

_log = logging.getLogger(__name__)

_DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "I8": torch.int8,
    "I64": torch.int64,
    "U8": torch.uint8,
}
_LENGTH_BYTES = 8

_UNFINISHED = ".part"
#: Nobody writes to a file as long as this without a pause.
_ABANDONED_AFTER_S = 600.0


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
    except Exception as error:  # whatever a broken file holds, it is only made again
        if not isinstance(error, FileNotFoundError):
            _log.warning("the converted weights in %s can't be read: %s", file.parent, error)
        return None


def write(file: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]) -> None:
    """Whole or not at all: another process may read it at the same time. Raises OSError."""
    file.parent.mkdir(exist_ok=True)
    _remove_abandoned(file.parent)
    number, name = tempfile.mkstemp(dir=file.parent, suffix=_UNFINISHED)
    os.close(number)
    try:
        save_file(dict(tensors), name, dict(about))
        Path(name).chmod(0o644)
        Path(name).rename(file)
    except SafetensorError as error:  # such as a full disk
        raise OSError(str(error)) from error
    finally:
        Path(name).unlink(missing_ok=True)


def _remove_abandoned(folder: Path) -> None:
    """Remove what processes that died while they wrote have left; each is as large as a model."""
    for part in folder.glob(f"*{_UNFINISHED}"):
        if time.time() - part.stat().st_mtime > _ABANDONED_AFTER_S:
            part.unlink(missing_ok=True)
