"""GGUF files to safetensors, in a process of its own, and what GGUF files say of themselves."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.backends.local.convert import STEPS
from gateway.backends.local.disk import require_space
from gateway.backends.local.hub import Progress
from gateway.backends.local.loadable import open_gguf
from gateway.backends.local.refused import FetchError

__all__ = ["STEPS", "conversion", "fetch_gguf"]

_FLOAT32_BYTES = 4


def fetch_gguf(gguf: Path, work: Path, report: Progress) -> tuple[Path, Mapping[str, Any]]:
    """The folder with a GGUF file's model, inside `work`, and what to note about it.

    Raises FetchError, ModelRefused.
    """
    reader = open_gguf(gguf)
    numbers = sum(int(tensor.n_elements) for tensor in reader.tensors)
    require_space(work, numbers * _FLOAT32_BYTES)
    licence = reader.get_field("general.license")
    folder = work / "model"
    folder.mkdir(exist_ok=True)
    for number, step in enumerate(conversion(gguf, folder)):
        report(step, number, len(STEPS))
    return folder, {
        "licence": licence.contents() if licence is not None else None,
        "source": f"the GGUF file {gguf}",
        "gguf": state_of(gguf),
    }


def state_of(gguf: Path) -> list[int]:
    """What changes when a file is replaced: its size, and when it was written."""
    found = gguf.stat()
    return [found.st_size, found.st_mtime_ns]


def conversion(gguf: Path, folder: Path) -> Iterator[str]:
    """Convert a file into `folder`; the steps, each as it begins. Raises FetchError."""
    command = [sys.executable, "-m", "gateway.backends.local.convert", str(gguf), str(folder)]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(  # noqa: S603 (our own module)
            command, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        try:
            yield from (step for line in process.stdout if (step := line.strip()) in STEPS)
        except BaseException:
            process.kill()  # nobody waits for it any more
            raise
        if process.wait():
            errors.seek(0)
            last = errors.read().strip().rpartition("\n")[2]
            raise FetchError(f"The model could not be converted to safetensors: {last}")
