"""Who may use the dashboard: a browser sends its key as HTTP Basic, from the gateway's own page."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlsplit

from starlette.types import Scope

from gateway.api.errors import ForeignPage, SignInNeeded
from gateway.api.exchange import header
from gateway.core.errors import Forbidden, GatewayError, Unauthorized

DASHBOARD = "/dashboard"


def is_dashboards(path: str) -> bool:
    """Whether a path is the dashboard's or below it."""
    return path == DASHBOARD or path.startswith(f"{DASHBOARD}/")


def admissible(scope: Scope) -> Scope:
    """The dashboard's request as a key ring reads it: HTTP Basic holds the key there too.

    Raises ForeignPage where a page of another site asks: its browser would send the key along.
    """
    check_site(scope)
    return with_bearer(scope)


def in_a_browsers_words(error: GatewayError) -> GatewayError:
    """The dashboard's answer to an error: where another key is needed a browser asks its user."""
    if isinstance(error, Forbidden):
        return SignInNeeded(
            "The dashboard shows what all keys do, so a virtual key doesn't open it: give one of "
            "those that the gateway was started with."
        )
    if isinstance(error, Unauthorized):
        return SignInNeeded(
            "The dashboard needs a key of this gateway: give it as the password, under any user "
            "name, or send it as 'Authorization: Bearer KEY'."
        )
    return error


def with_bearer(scope: Scope) -> Scope:
    """The request with its Basic credentials, if any, as the bearer's key that they hold."""
    scheme, _, credentials = (header(scope, b"authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return scope
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        return scope
    user, _, password = decoded.partition(b":")
    others = [one for one in scope["headers"] if one[0] != b"authorization"]
    return {**scope, "headers": [*others, (b"authorization", b"Bearer " + (password or user))]}


def check_site(scope: Scope) -> None:
    """Refuse what another site's page asks for. Raises ForeignPage.

    A link elsewhere may open the page: whoever has the link doesn't see what opens.
    """
    site = header(scope, b"sec-fetch-site")
    if site is None:
        # Browsers send it over HTTPS and to this machine alone.
        origin = header(scope, b"origin")
        is_own = origin is None or urlsplit(origin).netloc == header(scope, b"host")
    else:
        is_own = site in {"same-origin", "none"}
    if not is_own and not _is_link(scope):
        raise ForeignPage("Pages of other sites may not use the dashboard.")


def _is_link(scope: Scope) -> bool:
    return (
        scope["method"] == "GET"
        and scope["path"] == DASHBOARD
        and header(scope, b"sec-fetch-mode") == "navigate"
        and header(scope, b"sec-fetch-dest") == "document"
    )
