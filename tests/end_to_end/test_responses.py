"""The Responses API by the OpenAI SDK: both tiers, streams, tools, conversations, what is kept."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from openai.types.responses import FunctionToolParam, Response, ResponseInputParam, ResponseItemList
from pydantic import BaseModel, TypeAdapter

from tests.end_to_end.conftest import CLIENT_KEY, SECRETS, config_for
from tests.gateway_process import RunningGateway, running_gateway
from tests.vendor.behaviour import ANSWER, Behaviour
from tests.vendor.fixture import RunningVendor

WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
STRICT: TypeAdapter[Response] = TypeAdapter(Response)


def calling(*calls: tuple[str, str]) -> Behaviour:
    """The vendor's model calls functions, by their arguments."""
    made = [
        {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": text}}
        for call_id, text in calls
    ]
    message = {"role": "assistant", "content": None, "tool_calls": made}
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28},
    }
    return Behaviour(body=orjson.dumps(completion))


def sent(vendor: RunningVendor) -> list[Any]:
    """The messages that reached the vendor last."""
    messages: list[Any] = vendor.received[-1].body["messages"]
    return messages


@contextmanager
def refused(kind: type[APIStatusError], param: str | None, code: str | None) -> Iterator[None]:
    with pytest.raises(kind) as caught:
        yield
    assert (caught.value.param, caught.value.code) == (param, code)


def test_the_small_model_answers_over_three_turns(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    raw = client.responses.with_raw_response.create(
        model="auto", input="What is the capital of France?", temperature=0
    )
    first = raw.parse()
    STRICT.validate_json(raw.content, strict=True)
    assert "Paris" in first.output_text
    assert (first.status, first.model) == ("completed", "smollm2-135m-instruct")
    assert raw.headers["x-gateway-tier"] == "small"
    assert first.id == raw.headers["x-request-id"].replace("req_", "resp_")
    assert first.usage is not None
    counts = [first.usage.input_tokens]
    last = first
    for question in ("And of Italy?", "Thanks."):
        last = client.responses.create(
            model="smollm2",
            input=question,
            temperature=0,
            max_output_tokens=24,
            previous_response_id=last.id,
        )
        assert last.usage is not None
        counts.append(last.usage.input_tokens)
    assert counts == sorted(set(counts))  # each prompt holds the ones before it
    assert not vendor.received
    (row,) = gateway.ledger_rows(1, request_id=raw.headers["x-request-id"])
    assert (row["endpoint"], row["usage_source"]) == ("/v1/responses", "counted")
    assert orjson.loads(raw.content)["usage"]["cost"] == pytest.approx(float(row["cost_usd"]))


def test_a_conversation_reaches_the_vendor_whole(client: OpenAI, vendor: RunningVendor) -> None:
    vendor.will(*(Behaviour(text=text) for text in ("One.", "Two.", "Three.")))
    first = client.responses.create(model="gpt-4o", input="1?", instructions="Count.")
    assert sent(vendor)[0] == {"role": "system", "content": "Count."}
    second = client.responses.create(
        model="gpt-4o",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "2?"}]}],
        previous_response_id=first.id,
    )
    third = client.responses.create(model="gpt-4o", input="3?", previous_response_id=second.id)
    assert sent(vendor) == [
        {"role": "user", "content": "1?"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "2?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "3?"},
    ]
    assert vendor.received[-1].path == "/v1/chat/completions"
    assert "previous_response_id" not in vendor.received[-1].body
    assert third.previous_response_id == second.id
    # 7 fresh and 4 cached input tokens, 7 output tokens
    expected = (7 * Decimal("2.5") + 4 * Decimal("1.25") + 7 * 10) / 1_000_000
    assert third.usage is not None
    assert third.usage.model_dump()["cost"] == pytest.approx(float(expected))


def test_a_stream_of_typed_events(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    events = list(client.responses.create(model="gpt-4o", input="Hi", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas).strip() == ANSWER
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.usage is not None
    assert last.response.usage.model_dump()["cost"] > 0
    assert client.responses.retrieve(last.response.id) == last.response
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    body = {"model": "gpt-4o", "input": "Hi", "stream": True}
    plain = httpx.post(f"{gateway.base_url}/responses", json=body, headers=headers)
    assert plain.headers["content-type"].startswith("text/event-stream")
    assert plain.headers["x-gateway-tier"] == "large"
    assert "[DONE]" not in plain.text


def test_the_stream_helper_on_the_small_model(client: OpenAI) -> None:
    with client.responses.stream(
        model="smollm2", input="What is the capital of France?", temperature=0
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "Paris" in final.output_text
    assert client.responses.retrieve(final.id).output_text == final.output_text


async def test_the_async_client(async_client: AsyncOpenAI, vendor: RunningVendor) -> None:
    answer = await async_client.responses.create(model="gpt-4o", input="Hi")
    assert answer.output_text == ANSWER
    stream = await async_client.responses.create(
        model="gpt-4o", input="Again", previous_response_id=answer.id, stream=True
    )
    kinds = [event.type async for event in stream]
    assert kinds[-1] == "response.completed"
    assert [message["content"] for message in sent(vendor)] == ["Hi", ANSWER, "Again"]
    assert (await async_client.responses.retrieve(answer.id)).output_text == ANSWER


class City(BaseModel):
    name: str
    population: int


def test_parsing_into_a_model(client: OpenAI, vendor: RunningVendor) -> None:
    vendor.always(Behaviour(text='{"name": "Bern", "population": 134000}'))
    answer = client.responses.parse(model="gpt-4o", input="Bern", text_format=City)
    assert answer.output_parsed == City(name="Bern", population=134000)
    wanted = vendor.received[-1].body["response_format"]
    assert wanted["json_schema"]["name"] == "City"
    small = client.responses.parse(model="smollm2", input="Bern", text_format=City, temperature=0)
    assert isinstance(small.output_parsed, City)


def test_a_loop_of_tools(client: OpenAI, vendor: RunningVendor) -> None:
    vendor.will(calling(("c1", '{"city":"Bern"}'), ("c2", '{"city":"Rome"}')))
    raw = client.responses.with_raw_response.create(
        model="gpt-4o", input="Weather in Bern and Rome?", tools=[WEATHER], tool_choice="auto"
    )
    STRICT.validate_json(raw.content, strict=True)
    first = raw.parse()
    calls = [item for item in first.output if item.type == "function_call"]
    assert [call.call_id for call in calls] == ["c1", "c2"]
    results: ResponseInputParam = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        for call in calls
    ]
    last = client.responses.create(
        model="gpt-4o", input=results, tools=[WEATHER], previous_response_id=first.id
    )
    assert last.output_text == ANSWER
    roles = [message["role"] for message in sent(vendor)]
    assert roles == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in sent(vendor)[1]["tool_calls"]] == ["c1", "c2"]
    assert vendor.received[-1].body["tools"][0]["function"]["strict"] is True
    small = client.responses.create(
        model="smollm2",
        input="Weather?",
        tools=[WEATHER],
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0,
    )
    (called,) = small.output
    assert called.type == "function_call"
    assert called.name == calls[0].name
    assert isinstance(json.loads(called.arguments)["city"], str)


def test_what_is_kept_can_be_asked_for_paged_and_deleted(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    items: ResponseInputParam = [
        {"role": "user", "content": f"question {number}"} for number in range(5)
    ]
    made = client.responses.create(model="gpt-4o", input=items, metadata={"team": "search"})
    assert client.responses.retrieve(made.id) == made
    assert made.metadata == {"team": "search"}
    listed = list(client.responses.input_items.list(made.id, limit=2, order="asc"))
    contents = [item.to_dict()["content"] for item in listed]
    assert contents == [[{"type": "input_text", "text": f"question {n}"}] for n in range(5)]
    page = client.responses.input_items.with_raw_response.list(made.id, after=listed[3].id or "")
    checked = TypeAdapter(ResponseItemList).validate_json(page.content, strict=True)
    assert [item.id for item in checked.data] == [item.id for item in reversed(listed[:3])]
    assert not checked.has_more
    with refused(BadRequestError, None, None):
        client.responses.cancel(made.id)
    with refused(BadRequestError, "stream", "unsupported_value"):
        list(client.responses.retrieve(made.id, stream=True))
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    gone = httpx.delete(f"{gateway.base_url}/responses/{made.id}", headers=headers)
    assert gone.json() == {"id": made.id, "object": "response", "deleted": True}
    for ask in (
        client.responses.retrieve,
        client.responses.delete,
        client.responses.cancel,
        client.responses.input_items.list,
    ):
        with refused(NotFoundError, None, None):
            ask(made.id)
    with refused(BadRequestError, "previous_response_id", "previous_response_not_found"):
        client.responses.create(model="gpt-4o", input="?", previous_response_id=made.id)


def test_another_key_sees_nothing(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    made = client.responses.create(model="gpt-4o", input="secret")
    vendor.forget()
    with OpenAI(base_url=gateway.base_url, api_key="sk-client-2", max_retries=0) as other:
        for ask in (
            other.responses.retrieve,
            other.responses.delete,
            other.responses.cancel,
            other.responses.input_items.list,
        ):
            with refused(NotFoundError, None, None):
                ask(made.id)
        with refused(BadRequestError, "previous_response_id", "previous_response_not_found"):
            other.responses.create(model="gpt-4o", input="?", previous_response_id=made.id)
    assert not vendor.received
    assert client.responses.retrieve(made.id).id == made.id


def test_what_isn_t_to_be_stored_isn_t(client: OpenAI, vendor: RunningVendor) -> None:
    made = client.responses.create(model="gpt-4o", input="Hi", store=False)
    assert made.to_dict()["store"] is False
    assert vendor.received[-1].body["store"] is False
    with refused(NotFoundError, None, None):
        client.responses.retrieve(made.id)


def test_what_can_t_be_honoured_is_told(client: OpenAI, vendor: RunningVendor) -> None:
    raw = client.responses.with_raw_response.create(
        model="gpt-4o",
        input="Hi",
        include=["reasoning.encrypted_content"],
        reasoning={"effort": "low", "summary": "auto"},
    )
    ignored = raw.headers["x-gateway-ignored"]
    assert ignored == "include.reasoning.encrypted_content,reasoning.summary"
    assert vendor.received[-1].body["reasoning_effort"] == "low"
    with refused(BadRequestError, "tools[0].type", "unsupported_value"):
        client.responses.create(model="gpt-4o", input="Hi", tools=[{"type": "web_search"}])


def test_an_error_before_the_first_byte_has_its_status(
    client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(status=400))
    for stream in (True, False):
        with refused(BadRequestError, "p", "c"):
            client.responses.create(model="gpt-4o", input="Hi", stream=stream)


def test_a_stream_that_breaks_fails_and_isn_t_kept(client: OpenAI, vendor: RunningVendor) -> None:
    vendor.will(Behaviour(drop_after=3))
    events = list(client.responses.create(model="gpt-4o", input="Hi", stream=True))
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.status == "failed"
    assert "response.completed" not in {event.type for event in events}
    with refused(NotFoundError, None, None):
        client.responses.retrieve(last.response.id)


def test_a_stream_whose_client_leaves_isn_t_kept(
    gateway: RunningGateway, client: OpenAI, vendor: RunningVendor
) -> None:
    vendor.will(Behaviour(chunks=200, chunk_delay_s=0.02))
    stream = client.responses.create(model="gpt-4o", input="Hi", stream=True)
    created = next(iter(stream))
    assert created.type == "response.created"
    stream.close()
    vendor.wait_for_early_close()
    with refused(NotFoundError, None, None):
        client.responses.retrieve(created.response.id)
    (row,) = gateway.ledger_rows(1, request_id=created.response.id.replace("resp_", "req_"))
    assert row["outcome"] == "cancelled"


def remote_alone(vendor: RunningVendor, **sections: Any) -> dict[str, Any]:
    config = config_for(vendor, **sections)
    _, large = config["deployments"]
    config["deployments"] = [large]
    config["routing"] = {}
    return config


def test_responses_outlive_a_kill(vendor: RunningVendor, tmp_path: Path) -> None:
    config = remote_alone(vendor)
    with running_gateway(tmp_path, config, env=SECRETS) as gateway:
        with OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=0) as sdk:
            made = sdk.responses.create(model="gpt-4o", input="1?")
        gateway.process.kill()
        gateway.process.wait(10)
    with (
        running_gateway(tmp_path, config, env=SECRETS) as gateway,
        OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=0) as sdk,
    ):
        assert sdk.responses.retrieve(made.id) == made
        sdk.responses.create(model="gpt-4o", input="2?", previous_response_id=made.id)
    assert [message["content"] for message in sent(vendor)] == ["1?", ANSWER, "2?"]


def test_a_gateway_that_stores_nothing(vendor: RunningVendor, tmp_path: Path) -> None:
    config = remote_alone(vendor, responses={"store": False})
    with (
        running_gateway(tmp_path, config, env=SECRETS) as gateway,
        OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=0) as sdk,
    ):
        raw = sdk.responses.with_raw_response.create(model="gpt-4o", input="Hi", store=True)
        made = raw.parse()
        assert made.to_dict()["store"] is False
        assert raw.headers["x-gateway-ignored"] == "store"
        with refused(NotFoundError, None, None):
            sdk.responses.retrieve(made.id)
        with refused(BadRequestError, "previous_response_id", "unsupported_value"):
            sdk.responses.create(model="gpt-4o", input="Hi", previous_response_id=made.id)
    database = (tmp_path / "ledger.db").read_bytes()
    assert ANSWER.encode() not in database


def test_an_answer_goes_out_though_the_database_is_away(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    url = "postgresql://nobody@127.0.0.1:1/ledger"
    config = remote_alone(vendor, ledger={"url": url, "spool_dir": str(tmp_path)})
    with (
        running_gateway(tmp_path, config, env=SECRETS, ready="/healthz") as gateway,
        OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=0) as sdk,
    ):
        for _ in range(2):
            made = sdk.responses.create(model="gpt-4o", input="Hi")
            assert made.output_text == ANSWER
            assert made.to_dict()["store"] is False
        with pytest.raises(APIStatusError) as caught:
            sdk.responses.create(model="gpt-4o", input="Hi", previous_response_id=made.id)
        assert (caught.value.status_code, caught.value.code) == (503, "ledger_unavailable")
        gateway.stop()
        assert gateway.log.read_text().count("responses go out unstored") == 1
