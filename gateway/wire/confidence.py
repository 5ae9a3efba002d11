"""How sure a model was of its answer, in every API's answers under the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def confidence_in(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The `confidence` of a chat completion or a chunk as a member, or no member at all."""
    told = answer.get("confidence")
    return {"confidence": told} if isinstance(told, dict) else {}
