"""The names to which a gateway without keys answers.

A site may let its own name lead to this machine (DNS rebinding): what its page asks for then looks
as if the gateway's own page asked. No such name is one of these.
"""

from __future__ import annotations

import functools
import ipaddress
from urllib.parse import urlsplit

from starlette.types import Scope

from gateway.api.errors import ForeignPage
from gateway.api.exchange import header

#: Nobody can register these, or one that ends in them (RFC 6761, RFC 6762, ICANN's `internal`).
_LOCAL = ("localhost", "local", "internal")


def check_name(scope: Scope) -> None:
    """Raises ForeignPage where a request names another host than this machine."""
    if not _is_local(header(scope, b"host") or ""):
        raise ForeignPage(
            "Without client keys the gateway answers to 'localhost' and to addresses alone: set "
            "keys to call it by another name."
        )


@functools.lru_cache(maxsize=64)
def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if name is None or name.rstrip(".").rpartition(".")[2] in _LOCAL:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
