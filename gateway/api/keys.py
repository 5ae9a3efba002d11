"""Client keys: kept and compared as digests, so that no key can leak or be timed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Scope

from gateway.api.anthropic_errors import is_anthropics
from gateway.api.exchange import header
from gateway.core.access import VirtualKey
from gateway.core.errors import LedgerUnavailable, Unauthorized

KEY_ID_LENGTH = 12


class VirtualKeys(Protocol):
    """The virtual keys that are known, without I/O."""

    @property
    def was_read(self) -> bool:
        """Whether it is known which ones there are."""

    @property
    def has_keys(self) -> bool:
        """Whether any was ever made."""

    def find(self, digest: bytes) -> VirtualKey | None:
        """The one with this SHA-256 digest, if it can be used now."""

    async def looked_again(self) -> bool:
        """Read them anew; False where that would be too often."""


@dataclass(slots=True, frozen=True)
class Identity:
    """Who calls: a key's id, None where no keys are set; `key` if it is a virtual one."""

    key_id: str | None = None
    key: VirtualKey | None = None


NOBODY = Identity()


class KeyRing:
    """The keys that clients may use. An empty ring lets everybody in, unless one is `required`."""

    def __init__(
        self,
        keys: Iterable[str],
        virtual: VirtualKeys | None = None,
        *,
        required: bool = False,
    ) -> None:
        self._identities = {
            _digest(key): Identity(_digest(key).hex()[:KEY_ID_LENGTH]) for key in keys
        }
        self._virtual = virtual
        self._required = required

    async def identity(self, scope: Scope) -> Identity:
        """Who calls. A key that isn't known may have been made a moment ago, so look again.

        Raises Unauthorized for a missing or unknown key, LedgerUnavailable where it isn't known
        which virtual keys there are.
        """
        try:
            return self.identify(scope)
        except Unauthorized:
            has_key = self._virtual is not None and _key_of(scope) is not None
            if self._virtual is None or not has_key or not await self._virtual.looked_again():
                raise
        return self.identify(scope)

    def identify(self, scope: Scope) -> Identity:
        """Who calls, as far as is known now."""
        virtual = self._virtual
        if not self._identities:
            if virtual is not None and not virtual.was_read:
                raise LedgerUnavailable("The keys can't be read yet; the log says why.")
            if not self._required and (virtual is None or not virtual.has_keys):
                return NOBODY
        key = _key_of(scope)
        if key is None:
            raise Unauthorized(
                "You didn't provide an API key: send it as 'Authorization: Bearer KEY'."
            )
        # Looking up a digest takes the same time whatever part of the key is right.
        digest = _digest(key)
        identity = self._identities.get(digest)
        if identity is not None:
            return identity
        found = None if virtual is None else virtual.find(digest)
        if found is None:
            raise Unauthorized("The API key is not one that this gateway knows.")
        return Identity(found.key_id, found)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _key_of(scope: Scope) -> str | None:
    authorization = header(scope, b"authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None
    if is_anthropics(scope["path"]):
        return header(scope, b"x-api-key") or None
    return None
