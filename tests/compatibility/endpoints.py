"""The endpoints that are routed, each with the least that it takes, and its cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.compatibility.case import HI, Case
from tests.compatibility.chat_cases import CHAT
from tests.compatibility.completions_cases import COMPLETIONS
from tests.compatibility.messages_cases import MESSAGES
from tests.compatibility.responses_cases import RESPONSES


@dataclass(slots=True, frozen=True)
class Endpoint:
    """An endpoint, the least that it takes, and its cases."""

    path: str
    least: Mapping[str, Any]
    cases: list[Case]


ENDPOINTS = [
    Endpoint("/v1/chat/completions", {"messages": HI, "max_tokens": 1}, CHAT),
    Endpoint("/v1/completions", {"prompt": "Hi", "max_tokens": 1}, COMPLETIONS),
    Endpoint("/v1/responses", {"input": "Hi", "max_output_tokens": 1, "store": True}, RESPONSES),
    Endpoint("/v1/messages", {"messages": HI, "max_tokens": 1}, MESSAGES),
]
