"""What safetensors files hold, by their headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from gateway.backends.local.refused import ModelRefused

#: The header's length comes first, in so many bytes; the format allows headers of 100 MB.
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000


class BrokenWeights(ModelRefused):
    """A file is cut short or is no safetensors file."""


@dataclass(slots=True, frozen=True)
class StoredTensor:
    """A tensor in a file: its number format as safetensors spells it (`F32`), and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        size = 1
        for length in self.shape:
            size *= length
        return size


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a folder's safetensors files, by name. Raises BrokenWeights."""
    found: dict[str, StoredTensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found.update(tensors_of_file(path))
    return found


def tensors_of_file(path: Path) -> Mapping[str, StoredTensor]:
    """The tensors of one file, by name. Raises BrokenWeights."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 0 < length <= min(size - _LENGTH_BYTES, _LONGEST_HEADER):
            raise BrokenWeights(f"{path.name} is no safetensors file, or cut short")
        try:
            header = orjson.loads(file.read(length))
            tensors = {name: one for name, one in header.items() if name != "__metadata__"}
            end = max((one["data_offsets"][1] for one in tensors.values()), default=0)
            found = {
                name: StoredTensor(one["dtype"], tuple(one["shape"]))
                for name, one in tensors.items()
            }
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise BrokenWeights(f"{path.name} is no safetensors file") from error
    if size < _LENGTH_BYTES + length + end:
        raise BrokenWeights(f"{path.name} is cut short: {size:,} bytes are here")
    return found
