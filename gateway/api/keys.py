"""Client keys: kept and compared as digests, so that no key can leak or be timed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from starlette.types import Scope

from gateway.api.anthropic_errors import is_anthropics
from gateway.api.exchange import header
from gateway.core.errors import Unauthorized

KEY_ID_LENGTH = 12


class KeyRing:
    """The keys that clients may use. An empty ring lets everybody in."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._key_ids = {_digest(key): _digest(key).hex()[:KEY_ID_LENGTH] for key in keys}

    def __bool__(self) -> bool:
        return bool(self._key_ids)

    def identify(self, scope: Scope) -> str | None:
        """The id of the key that the request carries; None where no keys are set.

        Raises Unauthorized for a missing or unknown key.
        """
        if not self._key_ids:
            return None
        key = _key_of(scope)
        if key is None:
            raise Unauthorized(
                "You didn't provide an API key: send it as 'Authorization: Bearer KEY'."
            )
        # Looking up a digest takes the same time whatever part of the key is right.
        key_id = self._key_ids.get(_digest(key))
        if key_id is None:
            raise Unauthorized("The API key is not one that this gateway knows.")
        return key_id


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
