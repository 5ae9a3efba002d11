"""What the gateway writes itself is, to the letter, what the vendors' own types say.

The raw JSON is validated strictly, and members that a type doesn't know are counted: only those
that the documentation names may be there.
"""

from collections.abc import Iterator
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

from tests.end_to_end.conftest import CLIENT_KEY
from tests.gateway_process import RunningGateway
from tests.vendor.answers import TWO_CALLS
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor
from tests.wire.sdk_types import ended, unknown_members

CHAT, TEXTS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
HI = [{"role": "user", "content": "Hi"}]
SMALL_TALK: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HI, "max_tokens": 2},
    TEXTS: {"prompt": "Hi", "max_tokens": 2},
    EMBEDDINGS: {"input": "Hi"},
    RESPONSES: {"input": HI, "max_output_tokens": 2},
    MESSAGES: {"messages": HI, "max_tokens": 2},
    f"{MESSAGES}/count_tokens": {"messages": HI},
    "/v1/route": {"messages": HI},
}
COST = {"usage.cost", "usage.cost_details"}
MODEL = {"tier", "context_window", "serves"}
#: OpenAI's responses have them, though the types of its SDK don't.
STORE = {"store"}
CUSTOM_CALL = {"output.status", "item.status"}
#: What the simulated vendor says of its chats, and a text completion repeats.
OF_THE_CHAT = {"service_tier"}
#: What a model says beside its answer, and what the vendors' other types have for it.
TOLD = Behaviour(text="It rains.", thinking="Hm.", tool_calls=[("weather", '{"city": "Paris"}')])
TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
FUNCTION = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": None}


CITATION = {"url": "http://a.example", "title": "A", "start_index": 0, "end_index": 2}
CITED = {"type": "url_citation", "url_citation": CITATION}
CUSTOM = {"id": "call_0", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
#: What OpenAI-compatible upstreams say of a chat, for which each other API has its own words.
SAID = {
    "cut": Behaviour(finish_reason="length"),
    "filtered": Behaviour(finish_reason="content_filter"),
    "refused": Behaviour(
        message={"content": None, "refusal": "No."}, deltas=[{"refusal": "N"}, {"refusal": "o."}]
    ),
    "cited": Behaviour(
        message={"annotations": [CITED]}, deltas=[{"content": "So"}, {"annotations": [CITED]}]
    ),
    "thought_between": Behaviour(
        message={"reasoning": "Hm."},
        deltas=[{"reasoning": "Hm."}, {"content": "So"}, {"reasoning": "Eh."}, {"content": "Oh"}],
    ),
    "custom_call": Behaviour(
        message={"content": None, "tool_calls": [CUSTOM]},
        deltas=[{"tool_calls": [{"index": 0, **CUSTOM}]}],
    ),
    "two_calls": TWO_CALLS,
    "nothing": Behaviour(message={"content": None}, deltas=[]),
    "nameless": Behaviour(extra={"id": None, "created": None, "model": None}),
    "uncounted": Behaviour(usage=None),
    "counted_early": Behaviour(usage_in_every_chunk=True),
}


@pytest.fixture
def http(gateway: RunningGateway) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=60) as client:
        yield client


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
    assert unknown_members(ChatCompletion, posted(http, CHAT, **asked)) == COST
    *chunks, done = events_of(http, CHAT, **asked, stream_options=options)
    assert done == b"[DONE]"
    assert len(chunks) >= 3
    unknown = [unknown_members(ChatCompletionChunk, chunk) for chunk in chunks]
    assert unknown == [set()] * (len(chunks) - 1) + [COST if options else set()]


def test_usage_that_nobody_reported(http: httpx.Client, vendor: RunningVendor) -> None:
    vendor.always(Behaviour(usage=None))
    asked = {"model": "gpt-4o", "messages": HI, "stream_options": {"include_usage": True}}
    *_, usage, _done = events_of(http, CHAT, **asked)
    assert unknown_members(ChatCompletionChunk, usage) == COST


@pytest.mark.parametrize(("model", "own"), [("smollm2", set()), ("gpt-4o", OF_THE_CHAT)])
def test_text_completions(http: httpx.Client, model: str, own: set[str]) -> None:
    asked = {"model": model, "prompt": "Hi", "max_tokens": 2}
    assert unknown_members(Completion, posted(http, TEXTS, **asked)) == COST | own
    *texts, usage, done = events_of(http, TEXTS, **asked, stream_options={"include_usage": True})
    assert done == b"[DONE]"
    for text in texts:
        assert unknown_members(Completion, ended(text)) <= own
    assert b'"finish_reason":null' in texts[0]
    assert b'"finish_reason":null' not in texts[-1]
    assert COST <= unknown_members(Completion, usage) <= COST | own


@pytest.mark.parametrize("said", SAID)
def test_text_completions_of_any_chat(http: httpx.Client, vendor: RunningVendor, said: str) -> None:
    vendor.always(SAID[said])
    asked = {"model": "gpt-4o", "prompt": "Hi"}
    assert unknown_members(Completion, posted(http, TEXTS, **asked)) == COST | OF_THE_CHAT
    *texts, _done = events_of(http, TEXTS, **asked)
    for text in texts:
        assert unknown_members(Completion, ended(text)) == OF_THE_CHAT


def test_embeddings(http: httpx.Client) -> None:
    raw = posted(http, EMBEDDINGS, model="minilm", input=["Hi", "Ho"], encoding_format="float")
    assert unknown_members(CreateEmbeddingResponse, raw) == COST


def test_models(http: httpx.Client) -> None:
    listed = orjson.loads(http.get("/v1/models").content)
    assert (listed.keys(), listed["object"]) == ({"object", "data"}, "list")
    for one in listed["data"]:
        raw = http.get(f"/v1/models/{one['id']}").content
        assert orjson.loads(raw) == one
        assert unknown_members(Model, raw) <= MODEL


@pytest.mark.parametrize("model", ["smollm2", "gpt-4o"])
def test_responses(http: httpx.Client, vendor: RunningVendor, model: str) -> None:
    vendor.always(TOLD)
    asked = {"model": model, "input": [{"role": "user", "content": "Hi"}], "max_output_tokens": 2}
    if model == "gpt-4o":
        asked["tools"] = [FUNCTION]
    raw = posted(http, RESPONSES, **asked)
    assert unknown_members(Response, raw) == COST | STORE
    path = f"{RESPONSES}/{orjson.loads(raw)['id']}"
    check_refusal(RESPONSES, http.post(f"{path}/cancel").content)
    assert unknown_members(Response, http.get(path).content) == COST | STORE
    assert unknown_members(ResponseItemList, http.get(f"{path}/input_items").content) == set()
    deleted = http.delete(path).json()
    assert deleted == {"id": orjson.loads(raw)["id"], "object": "response", "deleted": True}
    *events, last = events_of(http, RESPONSES, **asked)
    for event in events:
        assert unknown_members(ResponseStreamEvent, event) == beside(event, STORE)
    assert unknown_members(ResponseStreamEvent, last) == beside(last, COST | STORE)


def beside(event: bytes, names: set[str]) -> set[str]:
    """What an event may hold more than its type: these names in the response, if it has one."""
    if orjson.loads(event)["type"] == "response.function_call_arguments.done":
        return {"name"}  # required by version 2 of OpenAI's SDK, unknown to version 3
    return {f"response.{name}" for name in names if "response" in orjson.loads(event)}


@pytest.mark.parametrize("said", SAID)
def test_responses_of_any_chat(http: httpx.Client, vendor: RunningVendor, said: str) -> None:
    vendor.always(SAID[said])
    asked = {"model": "gpt-4o", "input": "Hi"}
    allowed = COST | STORE | (CUSTOM_CALL if said == "custom_call" else set())
    assert unknown_members(Response, posted(http, RESPONSES, **asked)) <= allowed
    for event in events_of(http, RESPONSES, **asked):
        told = unknown_members(ResponseStreamEvent, event)
        assert {name.removeprefix("response.") for name in told - beside(event, set())} <= allowed


ECHOED: list[dict[str, Any]] = [
    {"tools": [{"type": "function", "name": "weather"}], "tool_choice": "required"},
    {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "weather"}},
    {"tools": [{"type": "custom", "name": "shell"}], "parallel_tool_calls": False},
    {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}},
    {"text": {"format": {"type": "json_object"}, "verbosity": "low"}, "user": "u"},
    {"reasoning": {"effort": "low"}, "instructions": "Be brief.", "metadata": {"a": "b"}},
    {"temperature": 0, "top_p": 1, "max_tool_calls": 3, "service_tier": "flex"},
    {"safety_identifier": "s", "prompt_cache_key": "k", "store": False},
]


@pytest.mark.parametrize("echoed", ECHOED, ids="_".join)
def test_what_a_response_repeats_of_its_request(http: httpx.Client, echoed: dict[str, Any]) -> None:
    raw = posted(http, RESPONSES, model="gpt-4o", input="Hi", **echoed)
    assert unknown_members(Response, raw) == COST | STORE


def test_a_response_that_breaks(http: httpx.Client, vendor: RunningVendor) -> None:
    vendor.always(Behaviour(error_after=2))
    events = events_of(http, RESPONSES, model="gpt-4o", input="Hi")
    assert orjson.loads(events[-1])["type"] == "response.failed"
    for event in events:
        assert unknown_members(ResponseStreamEvent, event) == beside(event, STORE)


@pytest.mark.parametrize("model", ["smollm2", "gpt-4o"])
def test_messages(http: httpx.Client, vendor: RunningVendor, model: str) -> None:
    vendor.always(TOLD)
    asked: dict[str, Any] = {"model": model, "messages": HI, "max_tokens": 2}
    if model == "gpt-4o":
        asked["tools"] = [TOOL]
    assert unknown_members(Message, posted(http, MESSAGES, **asked)) == COST
    events = events_of(http, MESSAGES, **asked)
    for event in events:
        has_cost = orjson.loads(event)["type"] == "message_delta"
        assert unknown_members(RawMessageStreamEvent, event) == (COST if has_cost else set())
    del asked["max_tokens"]
    assert (
        unknown_members(MessageTokensCount, posted(http, f"{MESSAGES}/count_tokens", **asked))
        == set()
    )


@pytest.mark.parametrize("said", SAID)
def test_messages_of_any_chat(http: httpx.Client, vendor: RunningVendor, said: str) -> None:
    vendor.always(SAID[said])
    asked = {"model": "gpt-4o", "messages": HI, "max_tokens": 9}
    assert unknown_members(Message, posted(http, MESSAGES, **asked)) == COST
    for event in events_of(http, MESSAGES, **asked):
        assert unknown_members(RawMessageStreamEvent, event) <= COST


def test_a_cascade(http: httpx.Client) -> None:
    """What was held back until the small model's answer was trusted."""
    *chunks, _done = events_of(http, CHAT, model="auto:trusting", **SMALL_TALK[CHAT])
    assert all(unknown_members(ChatCompletionChunk, chunk) == set() for chunk in chunks)
    for event in events_of(http, MESSAGES, model="auto:trusting", **SMALL_TALK[MESSAGES]):
        assert unknown_members(RawMessageStreamEvent, event) <= COST


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


NO_REQUESTS: list[tuple[dict[str, Any], int]] = [
    ({"content": b"{"}, 400),
    ({"content": b"\xff"}, 400),
    ({"content": b"[" * 5000}, 400),
    ({"content": b"a=b", "headers": {"content-type": "text/plain"}}, 415),
]


@pytest.mark.parametrize("path", SMALL_TALK)
def test_what_is_no_request(http: httpx.Client, path: str) -> None:
    http.headers["content-type"] = "application/json"
    absent = {"json": {"model": "absent", **SMALL_TALK[path]}}
    for sent, status in [*NO_REQUESTS, (absent, 404)]:
        answer = http.post(path, **sent)
        assert answer.status_code == status, answer.text
        check_refusal(path, answer.content)


def check_refusal(path: str, raw: bytes) -> None:
    if path.startswith(MESSAGES):
        assert unknown_members(ErrorResponse, raw) == set()
        return
    envelope = orjson.loads(raw)
    assert envelope.keys() == {"error"}
    assert unknown_members(ErrorObject, orjson.dumps(envelope["error"])) == set()


@pytest.mark.parametrize("path", [CHAT, TEXTS, RESPONSES, MESSAGES])
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_what_an_upstream_refuses(
    http: httpx.Client, vendor: RunningVendor, path: str, status: int
) -> None:
    vendor.always(Behaviour(status=status))
    answer = http.post(path, json={"model": "gpt-4o", **SMALL_TALK[path]})
    assert answer.status_code >= 400
    check_refusal(path, answer.content)


@pytest.mark.parametrize("path", [CHAT, TEXTS, MESSAGES])
def test_streams_that_break(http: httpx.Client, vendor: RunningVendor, path: str) -> None:
    vendor.always(Behaviour(error_after=2))
    *_, last = events_of(http, path, model="gpt-4o", **SMALL_TALK[path])
    check_refusal(path, last)
