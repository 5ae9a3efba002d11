"""The local backend with a real small model behind it."""

import asyncio
import itertools
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.api.parse import parse_chat
from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.tokens import TokenCounter
from gateway.core.answer import Chunk
from gateway.core.errors import ContextTooLong, EngineUnavailable, InvalidRequest
from tests.backends.local.asking import (
    CALLER,
    MODEL,
    SMALL,
    answer_of,
    chat,
    chunks_of,
    content_of,
    load_of,
    payloads_of,
    pieces_of,
    text,
    until_load,
)

COUNT = "Count from 1 to 20."


async def test_it_knows_the_capital_of_france(small: LocalBackend) -> None:
    answer = await answer_of(small, chat("What is the capital of France?", max_tokens=16))
    assert "Paris" in content_of(answer)
    assert answer.payload["choices"][0]["finish_reason"] == "stop"


async def test_a_plain_answer_is_a_chat_completion(
    small: LocalBackend, counter: TokenCounter
) -> None:
    request = chat("What is the capital of France?", max_tokens=16)
    answer = await answer_of(small, request)
    completion = ChatCompletion.model_validate_json(answer.raw)
    assert completion.to_dict() == dict(answer.payload)
    assert completion.model == answer.model_served == MODEL
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == counter.count(request.messages)
    # The token that ends the answer is not a part of it.
    assert completion.usage.completion_tokens == tokens_in(counter, content_of(answer))
    assert answer.usage is not None
    assert answer.usage.source == "counted"
    assert answer.usage.compute_s is not None
    assert 0 < answer.usage.compute_s < 30


async def test_a_stream_is_chat_completion_chunks(small: LocalBackend) -> None:
    chunks = await chunks_of(
        small, chat(COUNT, stream=True, stream_options={"include_usage": True})
    )
    parsed = [ChatCompletionChunk.model_validate(payload) for payload in payloads_of(chunks)]
    assert len({(chunk.id, chunk.created, chunk.system_fingerprint) for chunk in parsed}) == 1
    assert parsed[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in parsed[-2:-1]] == ["length"]
    assert [c.choices[0].finish_reason for c in parsed[:-2]] == [None] * (len(parsed) - 2)
    usages = [chunk.usage for chunk in parsed]
    assert usages[:-1] == [None] * (len(parsed) - 1)
    assert parsed[-1].choices == []
    assert usages[-1] is not None
    assert usages[-1].completion_tokens == 8
    assert chunks[-1].usage is not None
    assert chunks[-1].payload == payloads_of(chunks)[-1]
    assert not any(chunk.usage for chunk in chunks[:-1])


async def test_a_stream_says_what_a_plain_answer_says(small: LocalBackend) -> None:
    plain = await answer_of(small, chat(COUNT))
    streamed = await chunks_of(small, chat(COUNT, stream=True))
    assert "".join(pieces_of(streamed)) == content_of(plain)
    assert streamed[-1].usage is not None
    assert plain.usage is not None
    assert streamed[-1].usage.completion_tokens == plain.usage.completion_tokens


@pytest.mark.parametrize("limit", [1, 5])
async def test_max_tokens_cuts_the_answer(
    small: LocalBackend, counter: TokenCounter, limit: int
) -> None:
    answer = await answer_of(small, chat(COUNT, max_tokens=limit))
    assert answer.payload["choices"][0]["finish_reason"] == "length"
    assert answer.payload["usage"]["completion_tokens"] == limit
    assert tokens_in(counter, content_of(answer)) == limit


async def test_the_same_seed_gives_the_same_answer(small: LocalBackend) -> None:
    def asked(seed: int) -> Any:
        return chat("Tell me a story.", seed=seed, temperature=1.5, top_p=1, max_tokens=10)

    first, again, other = [content_of(await answer_of(small, asked(s))) for s in (7, 7, 8)]
    assert first == again
    assert first != other


async def test_a_stop_string_across_tokens_is_never_let_out(small: LocalBackend) -> None:
    pieces = pieces_of(await chunks_of(small, chat(COUNT, stream=True, max_tokens=16)))
    whole = "".join(pieces)
    stop = pieces[4][-1] + pieces[5] + pieces[6][:1]
    chunks = await chunks_of(small, chat(COUNT, stream=True, max_tokens=16, stop=["€", stop]))
    assert "".join(pieces_of(chunks)) == whole[: whole.index(stop)]
    assert payloads_of(chunks)[-2]["choices"][0]["finish_reason"] == "stop"
    plain = await answer_of(small, chat(COUNT, max_tokens=16, stop=stop))
    assert content_of(plain) == whole[: whole.index(stop)]


async def test_two_streams_take_turns(small: LocalBackend) -> None:
    order: list[str] = []

    async def follow(name: str) -> None:
        async with aclosing(small.call(chat(COUNT, stream=True), SMALL, CALLER)) as items:
            async for item in items:
                assert isinstance(item, Chunk)
                order.append(name)

    await asyncio.gather(follow("a"), follow("b"))
    switches = sum(one != other for one, other in itertools.pairwise(order))
    assert switches >= 8


async def test_leaving_early_frees_the_engine(small: LocalBackend) -> None:
    request = chat("Write a long story.", stream=True, max_tokens=2000)
    async with aclosing(small.call(request, SMALL, CALLER)) as items:
        assert isinstance(await anext(items), Chunk)
        assert await load_of(small) == (1, 0)
    await until_load(small, (0, 0))


async def test_a_cancelled_caller_frees_the_engine(small: LocalBackend) -> None:
    asking = asyncio.create_task(answer_of(small, chat("Write a long story.", max_tokens=2000)))
    await until_load(small, (1, 0))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until_load(small, (0, 0))


async def test_the_engine_is_free_when_it_says_that_an_answer_ended(small: LocalBackend) -> None:
    for _ in range(5):
        await answer_of(small, chat("Hi", max_tokens=1))
        assert await load_of(small) == (0, 0)


async def test_a_conversation_that_is_too_long(small: LocalBackend, counter: TokenCounter) -> None:
    request = chat("word " * 9000)
    with pytest.raises(ContextTooLong) as refused:
        await answer_of(small, request)
    message = refused.value.message
    assert str(counter.count(request.messages)) in message
    assert "8192" in message
    assert "8 for the answer" in message


async def test_a_text_is_gone_on_with_as_it_is(small: LocalBackend, counter: TokenCounter) -> None:
    prompt = "<|im_start|>user\nThe capital of France is"
    answer = await answer_of(small, text(prompt))
    ids = counter.plain(prompt)
    # A special token's spelling is that token, as in a chat.
    assert ids[0] == counter.token_id("<|im_start|>")
    assert answer.payload["usage"]["prompt_tokens"] == len(ids)
    assert "Paris" in content_of(await answer_of(small, text("The capital of France is")))


@pytest.mark.parametrize(
    ("prompt", "kind", "message"),
    [("word " * 9000, ContextTooLong, "The prompt takes 90"), ("", InvalidRequest, "no text")],
)
async def test_a_text_that_is_refused(
    small: LocalBackend, prompt: str, kind: type[InvalidRequest], message: str
) -> None:
    with pytest.raises(kind, match=message) as refused:
        await answer_of(small, text(prompt))
    assert refused.value.param == "prompt"


async def test_an_answer_that_would_not_fit(small: LocalBackend) -> None:
    with pytest.raises(ContextTooLong, match="8190 for the answer"):
        await answer_of(small, chat("Hi", max_tokens=8190))


async def test_the_engine_serves_on_after_a_refusal(small: LocalBackend) -> None:
    with pytest.raises(InvalidRequest):
        await answer_of(small, chat("Hi", max_tokens=8190))
    assert await load_of(small) == (0, 0)
    assert content_of(await answer_of(small, chat("Hi", max_tokens=2)))


async def test_a_model_that_is_not_here(tmp_path: Path) -> None:
    backend = LocalBackend(MODEL, models_dir=tmp_path)
    assert backend.counter is None
    await backend.start()
    try:
        assert f"`slm-gateway pull {MODEL}`" in str(backend.not_ready())
        with pytest.raises(EngineUnavailable, match="slm-gateway pull") as refused:
            await answer_of(backend, chat("Hi"))
    finally:
        await backend.stop()
    assert refused.value.status == 503
    assert refused.value.retry_after_s


def tokens_in(counter: TokenCounter, text: str) -> int:
    """How many tokens an answer's text is: what a message of it takes more than an empty one."""
    said, silent = ([{"role": "assistant", "content": content}] for content in (text, ""))
    return counter.count(said) - counter.count(silent)


@pytest.mark.parametrize("levels", [200, 300, 900])
async def test_what_is_nested_too_deeply_is_refused_and_no_failure(
    small: LocalBackend, levels: int
) -> None:
    deep = "[" * levels + "]" * levels
    part = f'{{"type": "text", "text": "Hi", "x": {deep}}}'
    messages = f'[{{"role": "user", "content": [{part}]}}]'
    request = parse_chat(f'{{"model": "auto", "max_tokens": 1, "messages": {messages}}}'.encode())
    if levels < 250:
        assert await answer_of(small, request)
        return
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        await answer_of(small, request)


@pytest.mark.parametrize("levels", [240, 900])
async def test_deep_arguments_of_a_call_are_read_as_they_were_written(
    small: LocalBackend, counter: TokenCounter, levels: int
) -> None:
    called = {"name": "f", "arguments": '{"a": ' + "[" * levels + "]" * levels + "}"}
    said = {
        "role": "assistant",
        "tool_calls": [{"id": "c", "type": "function", "function": called}],
    }
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi"},
        said,
        {"role": "tool", "content": "1"},
    ]
    answer = await answer_of(small, chat("", messages=messages, max_tokens=1))
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == counter.count(messages) > levels / 4
