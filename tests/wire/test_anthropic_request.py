from itertools import chain
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import CapabilityMissing, InvalidRequest
from gateway.wire.anthropic_request import chat_body, messages_body
from tests.wire.sdk_types import CHAT_BODY, MESSAGES_BODY, check

PNG = "iVBORw0KGgo="
CACHE = {"cache_control": {"type": "ephemeral"}}
USER = {"role": "user", "content": "Hello"}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}},
}


def to_messages(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = messages_body({"model": "m", "messages": list(messages) or [USER], **fields})
    check(MESSAGES_BODY, body)
    return body


def to_chat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    sent = list(messages) or [USER]
    body = chat_body({"model": "m", "max_tokens": 9, "messages": sent, **fields})
    check(CHAT_BODY, body)
    return body


def call(identifier: str, arguments: str = '{"city":"Riga"}') -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {"id": identifier, "type": "function", "function": function}


def test_instructions_move_to_system_and_neighbours_become_one_message() -> None:
    body = to_messages(
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "developer", "content": [{"type": "text", "text": "In Latvian.", **CACHE}]},
        {"role": "user", "content": "More", "name": "ann"},
    )
    assert body["system"] == [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "In Latvian.", **CACHE},
    ]
    texts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "More"}]
    assert body["messages"] == [{"role": "user", "content": texts}]
    assert to_messages({"role": "system", "content": "Brief."}, USER)["system"] == "Brief."


def test_images_and_files_become_blocks() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}, **CACHE},
        {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}},
        {
            "type": "file",
            "file": {
                "file_data": "data:application/pdf;base64,AA==",
                "filename": "f",
            },
        },
        {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}},
        {"type": "file", "file": {"file_id": "file_1"}},
        {"type": "text", "text": " "},
    ]
    assert to_messages({"role": "user", "content": parts})["messages"][0]["content"] == [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
            **CACHE,
        },
        {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
            "title": "f",
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "hi"},
        },
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    ]


def test_parallel_calls_and_their_results() -> None:
    body = to_messages(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call("a.1"), call("b", "{oops")]},
        {"role": "tool", "tool_call_id": "a.1", "content": "rain"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "x", **CACHE}]},
        {"role": "user", "content": "And?"},
        tools=[{**WEATHER, **CACHE}],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assistant, user = body["messages"][1:]
    assert assistant["content"] == [
        {"type": "tool_use", "id": "a_1", "name": "weather", "input": {"city": "Riga"}},
        {"type": "tool_use", "id": "b", "name": "weather", "input": {"arguments": "{oops"}},
    ]
    assert user["content"] == [
        {"type": "tool_result", "tool_use_id": "a_1", "content": "rain"},
        {
            "type": "tool_result",
            "tool_use_id": "b",
            "content": [{"type": "text", "text": "x", **CACHE}],
        },
        {"type": "text", "text": "And?"},
    ]
    schema = {"input_schema": {"type": "object"}}
    assert body["tools"] == [{"name": "weather", "description": "d", **schema, **CACHE}]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
            {"type": "tool", "name": "weather"},
        ),
        ({}, None),
    ],
)
def test_tool_choices_there_and_back(fields: dict[str, Any], choice: dict[str, Any] | None) -> None:
    body = to_messages(USER, tools=[WEATHER], **fields)
    assert body.get("tool_choice") == choice
    again = messages_body(chat_body(body))
    assert again.get("tool_choice") == choice


def test_allowed_tools_thin_the_tools() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "other"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    body = to_messages(USER, tools=[WEATHER, other], tool_choice=choice)
    assert [tool["name"] for tool in body["tools"]] == ["other"]
    assert body["tool_choice"] == {"type": "any"}


def test_options() -> None:
    body = to_messages(
        USER,
        max_completion_tokens=7,
        stop="END",
        temperature=1.7,
        user="u",
        service_tier="default",
        seed=1,
        logprobs=True,
        n=1,
        x_new={"a": 1},
        top_k=5,
        stream=True,
        stream_options={"include_usage": True},
    )
    assert body == {
        "model": "m",
        "messages": [USER],
        "max_tokens": 7,
        "stop_sequences": ["END"],
        "temperature": 1.0,
        "metadata": {"user_id": "u"},
        "service_tier": "standard_only",
        "x_new": {"a": 1},
        "top_k": 5,
        "stream": True,
    }
    assert to_messages(USER)["max_tokens"] == 4096


def test_a_schema_is_kept_and_plain_json_is_left_to_the_prompt() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    body = to_messages(USER, response_format=wanted)
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert chat_body(body)["response_format"]["json_schema"]["schema"] == schema
    assert "output_config" not in to_messages(USER, response_format={"type": "text"})


def test_effort_becomes_adaptive_thinking_or_a_budget() -> None:
    body = to_messages(USER, reasoning_effort="high", temperature=0.2)
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    assert "temperature" not in body
    chat = {"model": "m", "messages": [USER], "reasoning_effort": "low"}
    budget = messages_body(chat, thinking="budget")
    assert budget["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert budget["max_tokens"] == 4096 + 2048
    short = messages_body({**chat, "max_tokens": 1500}, thinking="budget")
    assert short["thinking"]["budget_tokens"] == 1499
    assert "thinking" not in messages_body({**chat, "max_tokens": 900}, thinking="budget")
    forced = to_messages(USER, tools=[WEATHER], tool_choice="required", reasoning_effort="low")
    assert "thinking" not in forced
    unsigned = [USER, {"role": "assistant", "tool_calls": [call("a")]}]
    unsigned.append({"role": "tool", "tool_call_id": "a", "content": "x"})
    assert "thinking" not in messages_body({**chat, "messages": unsigned}, thinking="budget")
    assert to_messages(USER, reasoning_effort="none")["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh"])
def test_an_effort_survives_as_a_budget(effort: str) -> None:
    chat = {"model": "m", "messages": [USER], "reasoning_effort": effort}
    assert chat_body(messages_body(chat, thinking="budget"))["reasoning_effort"] == effort


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"n": 2}, CapabilityMissing),
        ({"modalities": ["text", "audio"]}, CapabilityMissing),
        ({"functions": [{"name": "f"}]}, CapabilityMissing),
        ({"response_format": {"type": "json_object"}}, CapabilityMissing),
        ({"stop": ["END", "\n"]}, CapabilityMissing),
        ({"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, CapabilityMissing),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, CapabilityMissing),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, CapabilityMissing),
        ({"messages": [{"role": "function", "content": "x"}]}, InvalidRequest),
        ({"messages": [{"role": "user", "content": 5}]}, InvalidRequest),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, InvalidRequest),
        ({"messages": [{"role": "tool", "content": "x"}]}, InvalidRequest),
        ({"tools": [{"type": "function"}]}, InvalidRequest),
    ],
)
def test_what_cannot_be_sent_is_refused(fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        messages_body({"model": "m", "messages": [USER], **fields})


def test_a_messages_body_as_chat() -> None:
    image = {"type": "base64", "media_type": "image/png", "data": PNG}
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    chat = to_chat(
        USER,
        {
            "role": "assistant",
            "content": [
                thinking,
                {"type": "text", "text": "Looking"},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": [1]}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "x"}, {"type": "image", "source": image}],
                },
                {"type": "text", "text": "go on"},
            ],
        },
        system=[{"type": "text", "text": "S", **CACHE}],
        tools=[{"name": "look", "input_schema": {"type": "object"}, "strict": True, **CACHE}],
        stop_sequences=["X"],
        metadata={"user_id": "u"},
        thinking={"type": "enabled", "budget_tokens": 5000},
        top_k=3,
        stream=True,
    )
    assert chat["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "S", **CACHE}]},
        USER,
        {
            "role": "assistant",
            "content": "Looking",
            "thinking_blocks": [thinking],
            "tool_calls": [
                {
                    "id": "t1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"a":[1]}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "x"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Result of t1:"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                {"type": "text", "text": "go on"},
            ],
        },
    ]
    function = {"name": "look", "strict": True, "parameters": {"type": "object"}}
    assert chat["tools"] == [{"type": "function", "function": function, **CACHE}]
    assert chat["stop"] == ["X"]
    assert (chat["user"], chat["reasoning_effort"], chat["top_k"]) == ("u", "medium", 3)
    assert chat["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "given", [{}, {"type": 5}, {"role": ["x"], "type": None}, {"type": "object", "role": "r"}]
)
def test_a_tools_input_has_whatever_members(given: dict[str, Any]) -> None:
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": given}
    (asked,) = to_chat({"role": "assistant", "content": [use]})["messages"]
    assert orjson.loads(asked["tool_calls"][0]["function"]["arguments"]) == given


def test_a_schema_may_allow_several_types() -> None:
    schema = {"type": ["object", "null"], "properties": {}}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    assert to_messages(response_format=wanted)["output_config"]["format"]["schema"] == schema


def test_what_chat_calls_otherwise_is_not_left_out() -> None:
    chat = to_chat(metadata={"user_id": "u", "team": "a"})
    assert (chat["user"], chat["metadata"]) == ("u", {"team": "a"})
    choice = {"type": "newest", "disable_parallel_tool_use": True, "x": 1}
    chat = chat_body({"model": "m", "messages": [USER], "tool_choice": choice})
    assert chat["tool_choice"] == {"type": "newest", "x": 1}
    assert chat["parallel_tool_calls"] is False


TEXT = st.text(min_size=1, max_size=8).filter(lambda text: bool(text.strip()))
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,9}", fullmatch=True)
MARK = st.sampled_from([{}, CACHE])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=3)
SOURCES = st.one_of(
    st.just({"type": "base64", "media_type": "image/png", "data": PNG}),
    st.just({"type": "url", "url": "https://a.example/b"}),
)
TEXTS = st.builds(lambda text, mark: {"type": "text", "text": text, **mark}, TEXT, MARK)
IMAGES = st.builds(lambda source, mark: {"type": "image", "source": source, **mark}, SOURCES, MARK)
DOCUMENTS = st.builds(
    lambda url, title: {"type": "document", "source": {"type": "url", "url": url}, "title": title},
    st.just("https://a.example/c.pdf"),
    TEXT,
)
UNKNOWN = st.just({"type": "search_result", "source": "s", "title": "t", "content": []})
USES = st.builds(
    lambda i, name, data, mark: {"type": "tool_use", "id": i, "name": name, "input": data, **mark},
    IDS,
    IDS,
    OBJECTS,
    MARK,
)


def folded(blocks: list[dict[str, Any]]) -> Any:
    plain = len(blocks) == 1 and blocks[0].keys() == {"type", "text"}
    return blocks[0]["text"] if plain else blocks


RESULTS = st.builds(
    lambda i, texts, error, mark: {
        "type": "tool_result",
        "tool_use_id": i,
        **({"content": folded(texts)} if texts else {}),
        **({"is_error": True} if error else {}),
        **mark,
    },
    IDS,
    st.lists(TEXTS, max_size=2),
    st.booleans(),
    MARK,
)
THOUGHTS = st.builds(
    lambda text: {"type": "thinking", "thinking": text, "signature": "s"}, TEXT
) | st.just({"type": "redacted_thinking", "data": "x"})


def joined(*groups: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[Any]:
    return st.tuples(*groups).map(lambda found: list(chain(*found))).filter(bool).map(folded)


USER_CONTENT = joined(
    st.lists(RESULTS, max_size=2), st.lists(TEXTS | IMAGES | DOCUMENTS | UNKNOWN, max_size=3)
)
ASSISTANT_CONTENT = joined(
    st.lists(THOUGHTS, max_size=2), st.lists(TEXTS, max_size=2), st.lists(USES, max_size=2)
)


@st.composite
def messages_bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Bodies in the form that this package writes: results first, a plain text as a string."""
    contents = [draw(USER_CONTENT)]
    for _ in range(draw(st.integers(0, 2))):
        contents += [draw(ASSISTANT_CONTENT), draw(USER_CONTENT)]
    body: dict[str, Any] = {
        "model": "m",
        "max_tokens": draw(st.integers(1, 9999)),
        "messages": [
            {"role": ("user", "assistant")[index % 2], "content": content}
            for index, content in enumerate(contents)
        ],
    }
    options = {
        "system": joined(st.lists(TEXTS, min_size=1, max_size=2)),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 99),
        "stop_sequences": st.lists(TEXT, min_size=1, max_size=3),
        "metadata": st.builds(lambda user: {"user_id": user}, TEXT),
        "service_tier": st.sampled_from(["auto", "standard_only"]),
        "stream": st.just(True),
        "thinking": st.just({"type": "disabled"}),
        "x_unknown": OBJECTS,
        "tools": st.lists(
            st.builds(
                lambda name, schema, mark: {"name": name, "input_schema": schema, **mark},
                IDS,
                OBJECTS.filter(bool),
                MARK,
            )
            | st.just({"type": "web_search_20250305", "name": "web_search", "max_uses": 2}),
            min_size=1,
            max_size=2,
        ),
    }
    for key, strategy in options.items():
        if draw(st.booleans()):
            body[key] = draw(strategy)
    return body


@given(body=messages_bodies())
def test_a_messages_body_survives_the_way_there_and_back(body: dict[str, Any]) -> None:
    before = orjson.dumps(body)
    assert messages_body(chat_body(body)) == body
    assert orjson.dumps(body) == before


@given(body=messages_bodies())
def test_a_chat_body_survives_the_way_there_and_back(body: dict[str, Any]) -> None:
    chat = chat_body(body)
    assert chat_body(messages_body(chat)) == chat


KEYS = (
    "role content type text source tool_calls function name id input system file image_url url "
    "data thinking_blocks tool_use_id tool_call_id arguments allowed_tools tools json_schema effort"
)
WORDS = "user assistant tool text image document tool_use tool_result file function allowed_tools"
FIELDS = (
    "system tools tool_choice metadata thinking output_config stop modalities response_format "
    "reasoning_effort stop_sequences user service_tier"
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(WORDS.split(" ")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS.split(" ")), inner, max_size=4)
    ),
    max_leaves=12,
)
MALFORMED = st.fixed_dictionaries(
    {"messages": ANYTHING | st.lists(ANYTHING, max_size=2)},
    optional={key: ANYTHING | st.lists(ANYTHING, max_size=2) for key in FIELDS.split(" ")},
)


@given(body=MALFORMED)
def test_malformed_bodies_are_the_clients_error(body: dict[str, Any]) -> None:
    for translate in (chat_body, messages_body):
        try:
            translate(body)
        except InvalidRequest as error:
            assert error.message


TEXT_SOURCE = {"type": "text", "media_type": "text/plain", "data": "Rain falls."}
PDF_SOURCE = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
PDF_URL = "data:application/pdf;base64,JVBERi0="


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            {"source": TEXT_SOURCE, "title": "A title", "context": "Of a book."},
            "A title\n\nOf a book.\n\nRain falls.",
        ),
        ({"source": TEXT_SOURCE, "context": None, "citations": {"enabled": False}}, "Rain falls."),
        (
            {"source": PDF_SOURCE, "title": "a.pdf", "context": "Of a book."},
            [
                {"type": "text", "text": "Of a book."},
                {"type": "file", "file": {"file_data": PDF_URL, "filename": "a.pdf"}},
            ],
        ),
        (
            {"source": PDF_SOURCE, "citations": {"enabled": True}},
            [{"type": "file", "file": {"file_data": PDF_URL}, "citations": {"enabled": True}}],
        ),
        (
            {
                "source": {"type": "content", "content": [{"type": "text", "text": "Rain."}]},
                "title": "A title",
                "cache_control": {"type": "ephemeral"},
            },
            [
                {"type": "text", "text": "A title"},
                {"type": "text", "text": "Rain.", "cache_control": {"type": "ephemeral"}},
            ],
        ),
    ],
)
def test_all_of_a_document_is_said(document: dict[str, Any], said: object) -> None:
    asked = {"messages": [{"role": "user", "content": [{"type": "document", **document}]}]}
    assert chat_body(asked)["messages"] == [{"role": "user", "content": said}]


@pytest.mark.parametrize(
    ("fields", "chat"),
    [
        ({"metadata": {"user_id": "a", "x": "b"}}, {"user": "a", "metadata": {"x": "b"}}),
        ({"service_tier": "x_new"}, {"service_tier": "x_new"}),
        ({"tool_choice": {"type": "x_new", "x": 1}}, {"tool_choice": {"type": "x_new", "x": 1}}),
        ({"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            {"reasoning_effort": "minimal"},
        ),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
            {"reasoning_effort": "low"},
        ),
        ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}},
            {
                "reasoning_effort": "minimal",
                "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
            },
        ),
    ],
)
def test_what_chat_has_no_word_for_is_kept(fields: dict[str, Any], chat: dict[str, Any]) -> None:
    body = chat_body({"messages": [{"role": "user", "content": "Hi"}], **fields})
    assert {name: body[name] for name in body if name not in {"model", "messages"}} == chat


def test_unknown_members_are_kept_where_they_stand() -> None:
    text = {"type": "text", "text": "Hi", "x": 1}
    turns = [
        {"role": "user", "content": [text], "x": 2},
        {"role": "assistant", "content": "Ho", "x": 3},
    ]
    assert chat_body({"messages": turns})["messages"] == turns
    assert messages_body({"messages": [{"role": "user", "content": [text]}]})["messages"] == [
        {"role": "user", "content": [text]}
    ]
