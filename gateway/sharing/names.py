"""Deployments under names that mean the same in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Described:
    """What makes two deployments of one name the same: the upstream, the model and the account."""

    name: str
    backend: str
    model: str
    base_url: str | None = None
    api_key: str | None = None

    @property
    def identity(self) -> str:
        """Its name and a digest; nothing can be learnt of the key from it."""
        told = (self.name, self.backend, self.model, self.base_url or "", self.api_key or "")
        parts = b"".join(b"%d:%b" % (len(one), one) for one in (part.encode() for part in told))
        return f"{self.name}#{hashlib.blake2b(parts, digest_size=8).hexdigest()}"


class SharedNames:
    """The names of deployments here, and their identities everywhere."""

    def __init__(self, deployments: Iterable[Described] = ()) -> None:
        self._identities: Mapping[str, str] = {}
        self._names: Mapping[str, str] = {}
        self.replace(deployments)

    def replace(self, deployments: Iterable[Described]) -> None:
        """The configuration has changed."""
        self._identities = {one.name: one.identity for one in deployments}
        self._names = {identity: name for name, identity in self._identities.items()}

    def identity(self, name: str) -> str | None:
        """What others call it; None of what isn't shared."""
        return self._identities.get(name)

    def name(self, identity: str) -> str | None:
        """What it is called here; None where there is no such deployment."""
        return self._names.get(identity)
