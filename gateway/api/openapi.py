"""The OpenAPI document: every endpoint, its bodies, and OpenAI's error envelope.

The request schemas come from the very types that check requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from gateway.api.feedback import FEEDBACK_FIELDS
from gateway.api.parse import CHAT_FIELDS
from gateway.api.passthrough_document import passed_on
from gateway.core.request import CHAT_COMPLETIONS

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_INTEGER: Schema = {"type": "integer"}
_PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_USD: Schema = {"type": ["string", "null"], "description": "an exact decimal; null where unknown"}


def _object(**properties: Schema) -> Schema:
    """All of the properties are there; further ones may be."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(description: str, schema: Schema, media_type: str = "application/json") -> Schema:
    return {"description": description, "content": {media_type: {"schema": schema}}}


_TIER: Schema = {"enum": ["small", "large"]}

_RESPONSES: Mapping[str, Schema] = {
    "Error": _object(
        error=_object(
            message=_STRING, type=_STRING, param=_or_null(_STRING), code=_or_null(_STRING)
        )
    ),
    "Completion": _object(
        object={"const": "chat.completion"},
        model=_STRING,
        choices=_list(_object(index=_INTEGER, message=_object(role=_STRING))),
        usage={
            "type": "object",
            "properties": {"cost": {"type": ["number", "null"]}, "cost_details": {}},
            "required": ["cost", "cost_details"],
        },
    ),
    "Model": _object(id=_STRING, object={"const": "model"}, created=_INTEGER, owned_by=_STRING),
    "Models": _object(object={"const": "list"}, data=_list(_ref("Model"))),
    "Route": _object(
        tier=_TIER,
        score=_or_null(_PROBABILITY),
        threshold=_or_null(_PROBABILITY),
        deployment=_STRING,
        reason=_STRING,
        policy=_or_null(_STRING),
        flip_threshold=_or_null(_PROBABILITY),
        margin=_or_null(_NUMBER),
        cascade=_or_null(_object(hold_tokens=_INTEGER, min_confidence=_PROBABILITY)),
        router=_STRING,
        rules=_list(_STRING),
        runner_up=_or_null(_STRING),
        contributions=_list(_object(feature=_STRING, value=_NUMBER, effect=_NUMBER)),
        excluded=_list(_object(deployment=_STRING, reason=_STRING, detail={})),
        costs=_list(_object(deployment=_STRING, estimated_usd=_USD)),
    ),
    "Feedback": _object(object={"const": "feedback"}, request_id=_STRING, score=_PROBABILITY),
    "Costs": _object(object={"const": "list"}, data=_list({"type": "object"})),
    "Health": _object(status={"const": "ok"}, version=_STRING),
    "Readiness": _object(
        status={"enum": ["ready", "degraded", "not ready"]},
        checks={"type": "object", "additionalProperties": _STRING},
    ),
}

_REQUESTS: Mapping[str, TypeAdapter[Any]] = {
    "ChatRequest": CHAT_FIELDS,
    "FeedbackRequest": FEEDBACK_FIELDS,
}

_CALLER_HEADERS: Mapping[str, tuple[str, Schema]] = {
    "x-gateway-threshold": ("The threshold of this one request.", _PROBABILITY),
    "x-gateway-policy": ("The policy of this one request.", _STRING),
    "x-gateway-tags": ("`name=value` pairs for the ledger, separated by commas.", _STRING),
    "x-gateway-session": ("The conversation's name, so that it stays on its model.", _STRING),
    "x-client-request-id": ("The client's own id, kept in the ledger.", _STRING),
    "traceparent": ("W3C trace context, passed on.", _STRING),
}


def _body(name: str) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": _ref(name)}}}


def _routed(summary: str, answers: Schema) -> Schema:
    parameters = [
        {"name": name, "in": "header", "description": text, "required": False, "schema": schema}
        for name, (text, schema) in _CALLER_HEADERS.items()
    ]
    body = _body("ChatRequest")
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": body,
        "responses": {"200": answers},
    }


_COMPLETION = _answer("The answer; a stream of events with `stream`.", _ref("Completion"))
_COMPLETION["content"]["text/event-stream"] = {"schema": {}}  # a schema would be each event's
_COSTS = _answer("Rows, or sums with `by`.", _ref("Costs"))
_COSTS["content"]["text/csv"] = {"schema": _STRING}

#: What is said of each operation beside what FastAPI knows.
_OPERATIONS: Mapping[tuple[str, str], Schema] = {
    (CHAT_COMPLETIONS, "post"): {
        **_routed("Answer a chat request by the model that it needs.", _COMPLETION),
        "tags": ["chat"],
        "operationId": "chat_completions",
    },
    ("/v1/route", "post"): _routed(
        "Explain where a chat request would go.", _answer("The decision.", _ref("Route"))
    ),
    ("/v1/feedback", "post"): {
        "requestBody": _body("FeedbackRequest"),
        "responses": {"201": _answer("What was kept.", _ref("Feedback"))},
    },
    ("/v1/costs", "get"): {"responses": {"200": _COSTS}},
    ("/v1/models", "get"): {"responses": {"200": _answer("Every name.", _ref("Models"))}},
    ("/v1/models/{model_id}", "get"): {"responses": {"200": _answer("The name.", _ref("Model"))}},
    ("/healthz", "get"): {
        "responses": {"200": _answer("It runs.", _ref("Health"))},
        "security": [],
    },
    ("/readyz", "get"): {
        "responses": {
            "200": _answer("Every part can answer.", _ref("Readiness")),
            "503": _answer("Some part can't answer yet.", _ref("Readiness")),
        },
        "security": [],
    },
}


def openapi_document(app: FastAPI) -> Schema:
    """The document of an application's routes and of the chat endpoint beside them."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    paths = document.setdefault("paths", {})
    error = {"default": _answer("What was wrong.", _ref("Error"))}
    for (path, method), said in {**_OPERATIONS, **passed_on()}.items():
        operation = paths.setdefault(path, {}).setdefault(method, {})
        operation.update(said)
    for operations in paths.values():
        for operation in operations.values():
            # FastAPI's own 422 is never answered.
            responses = {k: v for k, v in operation["responses"].items() if k != "422"}
            operation["responses"] = {**responses, **error}
    document["components"] = {
        "schemas": {**_RESPONSES, **_request_schemas()},
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    }
    document["security"] = [{"key": []}]
    return document


def _request_schemas() -> dict[str, Schema]:
    template = "#/components/schemas/{model}"
    schemas: dict[str, Schema] = {}
    for name, fields in _REQUESTS.items():
        schema = fields.json_schema(ref_template=template)
        schemas |= schema.pop("$defs", {})
        schemas[name] = {**schema, "title": name}
    return schemas
