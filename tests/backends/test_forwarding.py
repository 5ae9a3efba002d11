"""Passing requests on to the vendor simulator, over real sockets."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from gateway.backends.forwarding import Forwarder, usage_of
from gateway.backends.http1 import Timeouts
from gateway.core.deployment import Deployment, Tier
from gateway.core.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.core.forwarding import ForwardedRequest, Piece
from gateway.core.request import Caller
from gateway.core.usage import MOST_TOKENS, Usage
from tests.gateway_process import free_port
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor
from tests.vendor.other import IMAGE, IMAGE_USAGE, TRANSCRIPTION_USAGE, WHISPER_USAGE

USUAL = Timeouts()
GPT = Deployment("gpt", Tier.LARGE, "openai", "gpt-image-1", ("painter",))


def forwarder_to(base_url: str, timeouts: Timeouts = USUAL) -> Forwarder:
    return Forwarder(
        base_url=base_url,
        secret="sk-ours",
        headers={"authorization": "Bearer sk-ours"},
        timeouts=timeouts,
        query={"api-version": "1"},
        max_held_bytes=1_000_000,
    )


@pytest.fixture
async def forwarder(vendor: RunningVendor) -> AsyncIterator[Forwarder]:
    forwarder = forwarder_to(vendor.base_url)
    await forwarder.start()
    yield forwarder
    await forwarder.stop()


def image(**fields: Any) -> ForwardedRequest:
    payload = {"model": "painter", "prompt": "a cat", **fields}
    return ForwardedRequest(
        method="POST",
        path="/images/generations",
        endpoint="/v1/images/generations",
        body=orjson.dumps(payload),
        content_type="application/json",
        model=payload["model"],
        payload=payload,
        is_metered=True,
    )


async def pieces(forwarder: Forwarder, request: ForwardedRequest) -> list[Piece]:
    async with aclosing(forwarder.answer(request, GPT, Caller("req_1"))) as answer:
        return [piece async for piece in answer]


async def test_json_up_to_the_limit_is_held_for_its_usage(forwarder: Forwarder) -> None:
    (piece,) = await pieces(forwarder, image(prompt="a", size="small", n=0))
    assert piece.is_whole
    assert piece.status == 200
    assert (b"content-type", b"application/json") in piece.headers
    assert piece.usage is not None
    assert (piece.usage.prompt_tokens, piece.usage.image_output_tokens) == (50, 1056)


async def test_larger_json_streams_and_its_usage_is_found_at_its_end(
    forwarder: Forwarder, vendor: RunningVendor
) -> None:
    content = {"data": [{"b64_json": IMAGE * 200_000}], "usage": IMAGE_USAGE}
    vendor.always(Behaviour(body=orjson.dumps(content)))
    first, *rest = await pieces(forwarder, image())
    assert not first.is_whole
    assert first.usage is None
    assert len(first.frames) > 1_000_000
    assert orjson.loads(b"".join(one.frames for one in (first, *rest))) == content
    assert dict(first.headers)[b"content-length"] == b"%d" % len(orjson.dumps(content))
    assert rest[-1].usage == usage_of(IMAGE_USAGE)


@pytest.mark.parametrize("text", ['"usage":{"input_tokens":7}', '{"usage":', "}"])
async def test_a_text_that_looks_like_usage_is_none(
    forwarder: Forwarder, vendor: RunningVendor, text: str
) -> None:
    events = b'data: {"usage":{"input_tokens":1}}\n\ndata: %b\n\n' % orjson.dumps({"delta": text})
    vendor.always(Behaviour(body=events, content_type="text/event-stream"))
    found = await pieces(forwarder, image())
    assert found[-1].usage == Usage(1, 0)


async def test_only_the_name_of_the_deployment_is_exchanged(
    forwarder: Forwarder, vendor: RunningVendor
) -> None:
    await pieces(forwarder, image())
    await pieces(forwarder, image(model="dall-e-3"))
    assert [one.body["model"] for one in vendor.received] == ["gpt-image-1", "dall-e-3"]
    assert vendor.received[0].headers["accept"] == "*/*"


async def test_an_answer_may_take_as_long_to_begin_as_others_may_in_all(
    vendor: RunningVendor,
) -> None:
    hasty = Timeouts(first_byte_s=0.01, idle_s=0.01, total_s=1)
    forwarder = forwarder_to(vendor.base_url, hasty)
    await forwarder.start()
    vendor.will(Behaviour(status=400, delay_s=0.2), Behaviour(status=400, delay_s=10))
    with pytest.raises(UpstreamError):
        await pieces(forwarder, image())
    with pytest.raises(UpstreamTimeout):
        await pieces(forwarder, image())
    await forwarder.stop()


async def test_what_never_left_is_told_apart(vendor: RunningVendor) -> None:
    forwarder = forwarder_to(f"http://127.0.0.1:{free_port()}")
    await forwarder.start()
    with pytest.raises(UpstreamUnreachable):
        await pieces(forwarder, image())
    await forwarder.stop()


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (IMAGE_USAGE, Usage(50, 1056, image_input_tokens=40, image_output_tokens=1056)),
        (
            {**IMAGE_USAGE, "output_tokens_details": {"image_tokens": 1000, "text_tokens": 56}},
            Usage(50, 1056, image_input_tokens=40, image_output_tokens=1000),
        ),
        (TRANSCRIPTION_USAGE, Usage(14, 5, audio_input_tokens=10)),
        (WHISPER_USAGE, Usage(0, 0, audio_s=9.0)),
        ({"prompt_tokens": 3, "completion_tokens": 4}, Usage(3, 4)),
        ({"input_tokens": 0, "output_tokens": 0}, None),
        ({"input_tokens": -1, "output_tokens": "7", "seconds": True}, None),
        ({"seconds": 1e300}, None),
        ({}, None),
    ],
)
def test_usage_in_every_shape(reported: dict[str, Any], usage: Usage | None) -> None:
    assert usage_of(reported) == usage


@pytest.mark.parametrize("count", [b"NaN", b"1e999", b"9" * 4000, b"-3", b"9" * 5000])
async def test_counts_that_are_none_break_nothing(
    forwarder: Forwarder, vendor: RunningVendor, count: bytes
) -> None:
    events = b'data: {"usage":{"prompt_tokens":%b,"completion_tokens":2}}\n\n' % count
    vendor.always(Behaviour(body=events, content_type="text/event-stream"))
    found = await pieces(forwarder, image())
    assert b"".join(one.frames for one in found) == events
    usage = found[-1].usage
    assert usage is None or 0 <= usage.prompt_tokens <= MOST_TOKENS
