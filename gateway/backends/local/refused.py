"""The error of whatever can't be loaded."""

from __future__ import annotations


class ModelRefused(ValueError):
    """A model or an adapter can't be used; the message, one line, says why and what to do."""
