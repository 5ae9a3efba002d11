"""The errors of models that can't be had, or can't be loaded."""

from __future__ import annotations

from gateway.core.errors import GatewayError


class ModelRefused(ValueError):
    """A model or an adapter can't be used; the message, one line, says why and what to do."""


class FetchError(GatewayError):
    """The model couldn't be fetched; the message says why and what would help."""

    code = "fetch_failed"
