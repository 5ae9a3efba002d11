"""The OpenAPI document: every endpoint, its bodies, and OpenAI's error envelope.

The request schemas come from the very types that check requests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from gateway.api.anthropic_errors import ANTHROPIC_PATH, is_anthropics
from gateway.api.completions import COMPLETION_FIELDS, COMPLETIONS
from gateway.api.count_tokens import COUNT_TOKENS
from gateway.api.embeddings import EMBEDDINGS_FIELDS
from gateway.api.feedback import FEEDBACK_FIELDS
from gateway.api.messages import COUNTED_FIELDS, MESSAGES_FIELDS
from gateway.api.parse import CHAT_FIELDS
from gateway.api.passthrough_document import passed_on
from gateway.api.responses.asked import RESPONSES, RESPONSES_FIELDS
from gateway.core.request import CHAT_COMPLETIONS, EMBEDDINGS

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
_COSTED_USAGE: Schema = {
    "type": "object",
    "properties": {"cost": {"type": ["number", "null"]}, "cost_details": {}},
    "required": ["cost", "cost_details"],
}

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
        usage=_COSTED_USAGE,
    ),
    "Response": _object(
        id=_STRING,
        object={"const": "response"},
        status={"enum": ["completed", "incomplete"]},
        model=_STRING,
        output=_list(_object(id=_STRING, type=_STRING)),
        usage=_COSTED_USAGE,
    ),
    "DeletedResponse": _object(id=_STRING, object={"const": "response"}, deleted={"const": True}),
    "InputItems": _object(
        object={"const": "list"},
        data=_list(_object(id=_STRING, type=_STRING)),
        first_id=_STRING,
        last_id=_STRING,
        has_more={"type": "boolean"},
    ),
    "TextCompletion": _object(
        object={"const": "text_completion"},
        model=_STRING,
        choices=_list(_object(index=_INTEGER, text=_STRING)),
        usage=_object(cost={}, cost_details={}),
    ),
    "AnthropicError": _object(
        type={"const": "error"},
        error=_object(type=_STRING, message=_STRING),
        request_id=_STRING,
    ),
    "Message": _object(
        id=_STRING,
        type={"const": "message"},
        role={"const": "assistant"},
        model=_STRING,
        content=_list(_object(type=_STRING)),
        stop_reason=_or_null(_STRING),
        usage=_object(input_tokens=_INTEGER, output_tokens=_INTEGER, cost={}, cost_details={}),
    ),
    "Embeddings": _object(
        object={"const": "list"},
        model=_STRING,
        data=_list(_object(index=_INTEGER, object={"const": "embedding"}, embedding={})),
        usage=_COSTED_USAGE,
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
    "CompletionRequest": COMPLETION_FIELDS,
    "MessagesRequest": MESSAGES_FIELDS,
    "CountTokensRequest": COUNTED_FIELDS,
    "ResponsesRequest": RESPONSES_FIELDS,
    "EmbeddingsRequest": EMBEDDINGS_FIELDS,
    "FeedbackRequest": FEEDBACK_FIELDS,
}

_CALLER_HEADERS: Mapping[str, tuple[str, Schema]] = {
    "x-gateway-threshold": ("The threshold of this one request.", _PROBABILITY),
    "x-gateway-policy": ("The policy of this one request.", _STRING),
    "x-gateway-tags": ("`name=value` pairs for the ledger, separated by commas.", _STRING),
    "x-gateway-session": ("The conversation's name, so that it stays on its model.", _STRING),
    "x-gateway-confidence": (
        "Whether a local model's answer says how sure it was.",
        {"type": "boolean"},
    ),
    "x-client-request-id": ("The client's own id, kept in the ledger.", _STRING),
    "traceparent": ("W3C trace context, passed on.", _STRING),
}

#: Without meaning where nothing is scored.
_OF_ROUTING = frozenset({"x-gateway-threshold", "x-gateway-policy"})


def _body(name: str) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": _ref(name)}}}


def _routed(summary: str, answers: Schema, body: str = "ChatRequest") -> Schema:
    return {
        "summary": summary,
        "parameters": _header_parameters(_CALLER_HEADERS),
        "requestBody": _body(body),
        "responses": {"200": answers},
    }


def _header_parameters(names: Collection[str]) -> list[Schema]:
    return [
        {"name": name, "in": "header", "description": text, "required": False, "schema": schema}
        for name, (text, schema) in _CALLER_HEADERS.items()
        if name in names
    ]


#: A schema would be that of each event.
_EVENTS: Schema = {"schema": {}}
_COMPLETION = _answer("The answer; a stream of events with `stream`.", _ref("Completion"))
_COMPLETION["content"]["text/event-stream"] = _EVENTS
_TEXT_COMPLETION = _answer("The text; a stream of events with `stream`.", _ref("TextCompletion"))
_TEXT_COMPLETION["content"]["text/event-stream"] = _EVENTS
_MESSAGE = _answer("The answer; a stream of events with `stream`.", _ref("Message"))
_MESSAGE["content"]["text/event-stream"] = _EVENTS
_RESPONSE = _answer("The answer; a stream of typed events with `stream`.", _ref("Response"))
_RESPONSE["content"]["text/event-stream"] = _EVENTS
_COSTS = _answer("Rows, sums with `by`, or a scenario with `what_if`.", _ref("Costs"))
_COSTS["content"]["text/csv"] = {"schema": _STRING}

#: What is said of each operation beside what FastAPI knows.
_OPERATIONS: Mapping[tuple[str, str], Schema] = {
    (CHAT_COMPLETIONS, "post"): {
        **_routed("Answer a chat request by the model that it needs.", _COMPLETION),
        "tags": ["chat"],
        "operationId": "chat_completions",
    },
    (COMPLETIONS, "post"): {
        **_routed("Complete a text.", _TEXT_COMPLETION, "CompletionRequest"),
        "tags": ["completions"],
        "operationId": "completions",
    },
    (ANTHROPIC_PATH, "post"): {
        **_routed("The same in Anthropic's words.", _MESSAGE, "MessagesRequest"),
        "tags": ["messages"],
        "operationId": "messages",
    },
    (COUNT_TOKENS, "post"): _routed(
        "Count a prompt's tokens for the model that would answer it.",
        _answer("The count.", _object(input_tokens=_INTEGER)),
        "CountTokensRequest",
    ),
    (RESPONSES, "post"): {
        **_routed("Answer a request of the Responses API.", _RESPONSE, "ResponsesRequest"),
        "tags": ["responses"],
        "operationId": "create_response",
    },
    (f"{RESPONSES}/{{response_id}}", "get"): {
        "responses": {"200": _answer("The response.", _ref("Response"))}
    },
    (f"{RESPONSES}/{{response_id}}", "delete"): {
        "responses": {"200": _answer("It is gone.", _ref("DeletedResponse"))}
    },
    (f"{RESPONSES}/{{response_id}}/cancel", "post"): {"responses": {}},
    (f"{RESPONSES}/{{response_id}}/input_items", "get"): {
        "responses": {"200": _answer("A page of them.", _ref("InputItems"))}
    },
    (EMBEDDINGS, "post"): {
        **_routed(
            "Make embeddings by the model that is named; `auto` is the first that can.",
            _answer("The vectors, as numbers or base64.", _ref("Embeddings")),
            "EmbeddingsRequest",
        ),
        "parameters": _header_parameters(_CALLER_HEADERS.keys() - _OF_ROUTING),
        "tags": ["embeddings"],
        "operationId": "embeddings",
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
    for (path, method), said in {**_OPERATIONS, **passed_on()}.items():
        operation = paths.setdefault(path, {}).setdefault(method, {})
        operation.update(said)
    for path, operations in paths.items():
        envelope = _ref("AnthropicError" if is_anthropics(path) else "Error")
        error = {"default": _answer("What was wrong.", envelope)}
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
