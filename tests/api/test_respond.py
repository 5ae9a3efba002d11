from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.chat import ChatFormat
from gateway.api.respond import send_answer, send_stream
from gateway.core.answer import Answer, Chunk, Item
from gateway.core.decision import RouteDecision
from gateway.core.deployment import Deployment, Tier
from gateway.core.entry import LedgerEntry
from gateway.core.errors import StreamInterrupted
from gateway.core.price import Cost
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage
from gateway.pipeline import Reply

GPT = Deployment("gpt", Tier.LARGE, "openai", "gpt")
COST = Cost(Decimal("0.00000012345678"), "computed", "config:gpt")


def entry(cost: Cost = COST) -> LedgerEntry:
    return LedgerEntry(
        request_id="req_1",
        attempt=1,
        ts=datetime.now(UTC),
        endpoint="/v1/chat/completions",
        model_requested="auto",
        deployment="gpt",
        tier="large",
        reason="above_threshold",
        router_version="r1",
        stream=False,
        score=0.75,
        threshold=0.5,
        usage=Usage(3, 4),
        cost=cost,
    )


class Wire:
    """What was sent: an ASGI `send`."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.ended = not message.get("more_body", False)


async def answered(payload: dict[str, Any], raw: bytes | None = None, cost: Cost = COST) -> Wire:
    wire = Wire()
    answer, row = Answer(raw or orjson.dumps(payload), payload), entry(cost)
    body = ChatFormat().answer(request(include_usage=False), answer, row)
    await send_answer(wire, body, answer, row)
    return wire


VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | st.just("usage"),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["usage", "a", '"usage"']), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(
    extra=st.dictionaries(st.text(max_size=5).map(lambda key: f"x{key}"), VALUES, max_size=3),
    usage=st.none() | st.dictionaries(st.sampled_from(["prompt_tokens", "z"]), st.integers(0, 9)),
    is_indented=st.booleans(),
)
async def test_only_the_cost_is_added(
    extra: dict[str, Any], usage: dict[str, int] | None, is_indented: bool
) -> None:
    payload = {"id": "1", **extra, "choices": [], "usage": usage}
    raw = orjson.dumps(payload, option=orjson.OPT_INDENT_2 if is_indented else None)
    sent = orjson.loads((await answered(payload, raw)).body)
    added = sent["usage"].pop("cost"), sent["usage"].pop("cost_details")
    assert added[0] == float(COST.usd or 0)
    unknown = dict.fromkeys(("energy_wh", "co2_g", "energy_source"))
    computed = {"source": "computed", "price_id": "config:gpt", "usage_source": "reported"}
    assert added[1] == computed | unknown
    if usage is not None:
        assert sent == payload


async def test_the_amount_is_an_exact_decimal_on_the_wire() -> None:
    wire = await answered({"usage": {"prompt_tokens": 3}})
    assert b'"cost":0.00000012345678,' in wire.body
    assert wire.headers["x-gateway-cost-usd"] == "0.00000012345678"
    assert wire.headers["x-gateway-score"] == "0.7500"
    assert int(wire.headers["content-length"]) == len(wire.body)


async def test_an_unpriced_call_costs_null_and_not_0() -> None:
    wire = await answered({"usage": {"prompt_tokens": 3}}, cost=Cost(None, "unpriced"))
    assert orjson.loads(wire.body)["usage"]["cost"] is None
    assert "x-gateway-cost-usd" not in wire.headers
    assert wire.headers["x-gateway-cost-source"] == "unpriced"


async def test_bytes_are_kept_around_the_cost() -> None:
    raw = b'{"x": 1.50, "big": 12345678901234567890123, "usage" : { "prompt_tokens": 3 } }'
    wire = await answered(orjson.loads(raw), raw)
    assert wire.body.startswith(b'{"x": 1.50, "big": 12345678901234567890123, "usage" : { "cost":')


def stream(*items: Item, error: Exception | None = None) -> Reply:
    async def rest() -> Any:
        for item in items[1:]:
            yield item
        if error is not None:
            raise error

    return Reply(RouteDecision(GPT, "above_threshold", "r1"), entry(), items[0], rest())


def text(content: str) -> Chunk:
    return Chunk(b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % content.encode())


def usage_chunk(choices: list[Any]) -> Chunk:
    payload = {"choices": choices, "usage": {"prompt_tokens": 3}}
    return Chunk(b"data: " + orjson.dumps(payload) + b"\n\n", 1, Usage(3, 4), payload)


def request(*, include_usage: bool) -> ChatRequest:
    return ChatRequest(b"", {}, "auto", [], stream=True, include_usage=include_usage)


async def streamed(reply: Reply, *, include_usage: bool) -> list[str]:
    wire = Wire()
    events = ChatFormat().stream(request(include_usage=include_usage), reply.entry)
    await send_stream(wire, reply, events)
    assert wire.ended
    assert wire.headers["content-type"].startswith("text/event-stream")
    return [event.removeprefix("data: ") for event in wire.body.decode().split("\n\n") if event]


async def test_usage_is_sent_to_those_who_asked() -> None:
    asked = await streamed(stream(text("a"), usage_chunk([])), include_usage=True)
    assert orjson.loads(asked[1])["usage"]["cost"] == float(COST.usd or 0)
    assert asked[2] == "[DONE]"
    not_asked = await streamed(stream(text("a"), usage_chunk([])), include_usage=False)
    assert len(not_asked) == 2
    assert not_asked[1] == "[DONE]"


async def test_a_chunk_with_usage_and_choices_keeps_its_choices() -> None:
    events = await streamed(
        stream(text("a"), usage_chunk([{"delta": {"content": "b"}}])), include_usage=False
    )
    assert orjson.loads(events[1]) == {"choices": [{"delta": {"content": "b"}}]}


async def test_an_interruption_is_an_error_event_without_done() -> None:
    events = await streamed(
        stream(text("a"), error=StreamInterrupted("It broke.")), include_usage=True
    )
    assert orjson.loads(events[-1])["error"]["message"] == "It broke."
    assert "[DONE]" not in events
