"""What the gateway writes itself is, to the letter, what the vendors' own types say.

The raw JSON is validated strictly, and members that a type doesn't know are counted: only those
that the documentation names may be there.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import orjson
import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent
from openai.types.shared import ErrorObject
from pydantic import BaseModel, TypeAdapter

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

CHAT, TEXTS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
HI = [{"role": "user", "content": "Hi"}]
COST = {"usage.cost", "usage.cost_details"}
MODEL = {"tier", "context_window", "serves"}
#: OpenAI's responses have it, though its type doesn't.
STORE = {"store"}
#: What the simulated vendor says of its chats, and a text completion repeats.
OF_THE_CHAT = {"service_tier"}
#: What a model says beside its answer, and what the vendors' other types have for it.
TOLD = Behaviour(text="It rains.", thinking="Hm.", tool_calls=[("weather", '{"city": "Paris"}')])
TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
FUNCTION = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": None}


@pytest.fixture
def http(gateway: RunningGateway) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=60) as client:
        yield client


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def unknown_in(value: object, path: str = "") -> Iterator[str]:
    """The members, such as `usage.cost`, that the vendor's type doesn't have."""
    if isinstance(value, BaseModel):
        yield from (path + name for name in value.model_extra or ())
        for name in type(value).model_fields:
            yield from unknown_in(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list):
        for one in value:
            yield from unknown_in(one, path)
    elif isinstance(value, dict):
        for one in value.values():
            yield from unknown_in(one, path)


def is_a(kind: Any, raw: bytes) -> set[str]:
    """Raises ValidationError; gives the members that the type doesn't know."""
    return set(unknown_in(adapter(kind).validate_json(raw, strict=True)))


def posted(http: httpx.Client, path: str, **body: Any) -> bytes:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.content


def events_of(http: httpx.Client, path: str, **body: Any) -> list[bytes]:
    """The data of each event; the name before it, if any, is its type."""
    blocks = posted(http, path, **body, stream=True).split(b"\n\n")
    assert blocks.pop() == b""
    found = []
    for block in blocks:
        *names, data = block.split(b"\n")
        data = data.removeprefix(b"data: ")
        if names:
            assert names == [b"event: " + orjson.loads(data)["type"].encode()]
        found.append(data)
    return found


@pytest.mark.parametrize("options", [None, {"include_usage": True}])
def test_chat_completions(http: httpx.Client, options: dict[str, Any] | None) -> None:
    asked = {"model": "smollm2", "messages": HI, "max_tokens": 2}
    assert is_a(ChatCompletion, posted(http, CHAT, **asked)) == COST
    *chunks, done = events_of(http, CHAT, **asked, stream_options=options)
    assert done == b"[DONE]"
    assert len(chunks) >= 3
    unknown = [is_a(ChatCompletionChunk, chunk) for chunk in chunks]
    assert unknown == [set()] * (len(chunks) - 1) + [COST if options else set()]


def test_usage_that_nobody_reported(http: httpx.Client, vendor: RunningVendor) -> None:
    vendor.always(Behaviour(usage=None))
    asked = {"model": "gpt-4o", "messages": HI, "stream_options": {"include_usage": True}}
    *_, usage, _done = events_of(http, CHAT, **asked)
    assert is_a(ChatCompletionChunk, usage) == COST


@pytest.mark.parametrize(("model", "own"), [("smollm2", set()), ("gpt-4o", OF_THE_CHAT)])
def test_text_completions(http: httpx.Client, model: str, own: set[str]) -> None:
    asked = {"model": model, "prompt": "Hi", "max_tokens": 2}
    assert is_a(Completion, posted(http, TEXTS, **asked)) == COST | own
    *texts, usage, done = events_of(http, TEXTS, **asked, stream_options={"include_usage": True})
    assert done == b"[DONE]"
    for text in texts:
        # There is one type for both; in OpenAI's own streams the reason is null until the end.
        ended = text.replace(b'"finish_reason":null', b'"finish_reason":"stop"')
        assert is_a(Completion, ended) <= own
    assert b'"finish_reason":null' in texts[0]
    assert b'"finish_reason":null' not in texts[-1]
    assert COST <= is_a(Completion, usage) <= COST | own


def test_embeddings(http: httpx.Client) -> None:
    raw = posted(http, EMBEDDINGS, model="minilm", input=["Hi", "Ho"], encoding_format="float")
    assert is_a(CreateEmbeddingResponse, raw) == COST


def test_models(http: httpx.Client) -> None:
    listed = orjson.loads(http.get("/v1/models").content)
    assert (listed.keys(), listed["object"]) == ({"object", "data"}, "list")
    for one in listed["data"]:
        raw = http.get(f"/v1/models/{one['id']}").content
        assert orjson.loads(raw) == one
        assert is_a(Model, raw) <= MODEL


@pytest.mark.parametrize("model", ["smollm2", "gpt-4o"])
def test_responses(http: httpx.Client, vendor: RunningVendor, model: str) -> None:
    vendor.always(TOLD)
    asked = {"model": model, "input": [{"role": "user", "content": "Hi"}], "max_output_tokens": 2}
    if model == "gpt-4o":
        asked["tools"] = [FUNCTION]
    raw = posted(http, RESPONSES, **asked)
    assert is_a(Response, raw) == COST | STORE
    path = f"{RESPONSES}/{orjson.loads(raw)['id']}"
    assert is_a(Response, http.get(path).content) == COST | STORE
    assert is_a(ResponseItemList, http.get(f"{path}/input_items").content) == set()
    deleted = http.delete(path).json()
    assert deleted == {"id": orjson.loads(raw)["id"], "object": "response", "deleted": True}
    *events, last = events_of(http, RESPONSES, **asked)
    for event in events:
        assert is_a(ResponseStreamEvent, event) == beside(event, STORE)
    assert is_a(ResponseStreamEvent, last) == beside(last, COST | STORE)


def beside(event: bytes, names: set[str]) -> set[str]:
    """What an event may hold more than its type: these names in the response, if it has one."""
    if orjson.loads(event)["type"] == "response.function_call_arguments.done":
        return {"name"}  # required by version 2 of OpenAI's SDK, unknown to version 3
    return {f"response.{name}" for name in names if "response" in orjson.loads(event)}


def test_a_response_that_breaks(http: httpx.Client, vendor: RunningVendor) -> None:
    vendor.always(Behaviour(error_after=2))
    events = events_of(http, RESPONSES, model="gpt-4o", input="Hi")
    assert orjson.loads(events[-1])["type"] == "response.failed"
    for event in events:
        assert is_a(ResponseStreamEvent, event) == beside(event, STORE)


@pytest.mark.parametrize("model", ["smollm2", "gpt-4o"])
def test_messages(http: httpx.Client, vendor: RunningVendor, model: str) -> None:
    vendor.always(TOLD)
    asked: dict[str, Any] = {"model": model, "messages": HI, "max_tokens": 2}
    if model == "gpt-4o":
        asked["tools"] = [TOOL]
    assert is_a(Message, posted(http, MESSAGES, **asked)) == COST
    events = events_of(http, MESSAGES, **asked)
    for event in events:
        has_cost = orjson.loads(event)["type"] == "message_delta"
        assert is_a(RawMessageStreamEvent, event) == (COST if has_cost else set())
    del asked["max_tokens"]
    assert is_a(MessageTokensCount, posted(http, f"{MESSAGES}/count_tokens", **asked)) == set()


REFUSED = [
    *(("POST", path, 400) for path in (CHAT, TEXTS, EMBEDDINGS, RESPONSES, MESSAGES)),
    ("POST", f"{MESSAGES}/count_tokens", 400),
    ("POST", "/v1/route", 400),
    ("POST", "/v1/feedback", 400),
    ("POST", "/v1/moderations", 400),
    ("POST", "/v1/images/generations", 400),
    *((method, f"{RESPONSES}/resp_absent", 404) for method in ("GET", "DELETE")),
    ("POST", f"{RESPONSES}/resp_absent/cancel", 404),
    ("GET", f"{RESPONSES}/resp_absent/input_items", 404),
    ("GET", "/v1/models/absent", 404),
    ("GET", "/v1/absent", 404),
    ("GET", "/v1/costs?since=never", 400),
    *(("PUT", path, 405) for path in (CHAT, RESPONSES, MESSAGES, "/v1/models", "/healthz")),
]


@pytest.mark.parametrize(("method", "path", "status"), REFUSED)
@pytest.mark.parametrize("has_key", [True, False])
def test_refusals(http: httpx.Client, method: str, path: str, status: int, has_key: bool) -> None:
    if not has_key:
        del http.headers["authorization"]
        status = 405 if path == "/healthz" else 401
    answer = http.request(method, path, json={"model": []} if method == "POST" else None)
    assert answer.status_code == status, answer.text
    check_refusal(path, answer.content)


def check_refusal(path: str, raw: bytes) -> None:
    if path.startswith(MESSAGES):
        assert is_a(ErrorResponse, raw) == set()
        return
    envelope = orjson.loads(raw)
    assert envelope.keys() == {"error"}
    assert is_a(ErrorObject, orjson.dumps(envelope["error"])) == set()


@pytest.mark.parametrize("path", [CHAT, TEXTS, RESPONSES, MESSAGES])
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_what_an_upstream_refuses(
    http: httpx.Client, vendor: RunningVendor, path: str, status: int
) -> None:
    vendor.always(Behaviour(status=status))
    said = {"prompt": "Hi"} if path == TEXTS else {"input" if path == RESPONSES else "messages": HI}
    answer = http.post(path, json={"model": "gpt-4o", "max_tokens": 2, **said})
    assert answer.status_code >= 400
    check_refusal(path, answer.content)


@pytest.mark.parametrize("path", [CHAT, TEXTS, MESSAGES])
def test_streams_that_break(http: httpx.Client, vendor: RunningVendor, path: str) -> None:
    vendor.always(Behaviour(error_after=2))
    said = {"prompt": "Hi"} if path == TEXTS else {"messages": HI}
    *_, last = events_of(http, path, model="gpt-4o", max_tokens=9, **said)
    check_refusal(path, last)
