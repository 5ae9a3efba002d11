"""Input items as clients list them, by OpenAI's own model of that list."""

from typing import Any

from openai.types.responses import ResponseItemList
from pydantic import TypeAdapter

from gateway.wire.responses_listing import listed_items

IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
ITEMS: list[dict[str, Any]] = [
    {"role": "user", "content": "你好"},
    {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "s"}]},
    {"role": "user", "content": [IMAGE, {**IMAGE, "detail": "low"}]},
    {"role": "assistant", "content": "Hello."},
    {"id": "msg_own", "type": "message", "role": "assistant", "status": "incomplete"}
    | {"content": [{"type": "output_text", "text": "Hel"}]},
    {"type": "reasoning", "id": "rs_own"},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "4"},
    {"type": "function_call_output", "call_id": "c2", "output": [IMAGE]},
    {"type": "custom_tool_call", "call_id": "c3", "name": "g", "input": "x"},
    {"type": "custom_tool_call_output", "call_id": "c3", "output": "y"},
]


def test_every_kind_is_what_openai_s_own_model_takes() -> None:
    data = listed_items(ITEMS, "resp_a")
    page = {"object": "list", "data": data, "has_more": False}
    page |= {"first_id": data[0]["id"], "last_id": data[-1]["id"]}
    checked = TypeAdapter(ResponseItemList).validate_python(page, strict=True)
    assert [item.type for item in checked.data] == [
        *["message"] * 5,
        "reasoning",
        "function_call",
        *["function_call_output"] * 2,
        "custom_tool_call",
        "custom_tool_call_output",
    ]


def test_ids_are_the_client_s_or_made_from_the_place() -> None:
    ids = [item["id"] for item in listed_items(ITEMS, "resp_a")]
    assert ids[:6] == ["msg_a_in_0", "msg_a_in_1", "msg_a_in_2", "msg_a_in_3", "msg_own", "rs_own"]
    assert ids[6:9] == ["fc_a_in_6", "fco_a_in_7", "fco_a_in_8"]
    assert len(set(ids)) == len(ids)


def test_contents_are_spelt_out() -> None:
    user, _, images, assistant, cut, *_ = listed_items(ITEMS, "resp_a")
    assert user == {
        "id": "msg_a_in_0",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "你好"}],
    }
    assert [part["detail"] for part in images["content"]] == ["auto", "low"]
    assert assistant["content"] == [
        {"type": "output_text", "text": "Hello.", "annotations": [], "logprobs": []}
    ]
    assert cut["status"] == "incomplete"
    assert ITEMS[0] == {"role": "user", "content": "你好"}
