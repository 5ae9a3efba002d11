"""The OpenAPI document's part on what is passed on; bodies and answers are the upstream's."""

from __future__ import annotations

import re
from typing import Any

from gateway.api.parse import LONGEST_NAME
from gateway.api.passthrough import EVENTS, ID_PATTERN, JSON, OPERATIONS, Operation

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_ID: Schema = {"type": "string", "pattern": f"^{ID_PATTERN}$"}
_MODEL: Schema = {"type": "string", "maxLength": LONGEST_NAME}
_HEADERS = ("x-gateway-tags", "x-gateway-session", "x-client-request-id", "traceparent")


def passed_on() -> dict[tuple[str, str], Schema]:
    """By path and method, what is said of each operation."""
    return {(one.path, one.method.lower()): _described(one) for one in OPERATIONS}


def _described(operation: Operation) -> Schema:
    ids = re.findall(r"{(\w+)}", operation.path)
    known = {} if operation.is_stored else {"properties": {"model": _MODEL}}
    body = {name: {"schema": {"type": "object", **known}} for name in operation.media}
    # A schema of a stream would be that of each event.
    answers = {
        name: {"schema": {} if name in (JSON, EVENTS) else _STRING} for name in operation.answers
    }
    return {
        "summary": operation.summary,
        "tags": ["passed on"],
        "operationId": f"{operation.method} {operation.path}",
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _ID} for name in ids),
            *({"name": name, "in": "header", "schema": _STRING} for name in _HEADERS),
        ],
        **({"requestBody": {"required": True, "content": body}} if body else {}),
        "responses": {"200": {"description": "The upstream's answer.", "content": answers}},
    }
