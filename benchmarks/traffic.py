"""Mixed traffic as clients send it: answers, streams, cancellations, errors, bad requests."""

from __future__ import annotations

import asyncio
import collections
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import orjson

from benchmarks.prompts import PATH, STREAMING, conversations, numbered
from benchmarks.systems import KEY
from benchmarks.upstream import CHUNKS, SLOW_S, WORD

#: The deployment that is asked for where the upstream is to fail, so that no other one suffers.
FAULTY = "faulty"
#: A client that gives up waits this long: the request has reached the upstream, its answer is far.
_PATIENCE_S = SLOW_S / 2
_DONE = b"data: [DONE]\n\n"
#: What a client may be told when the upstream fails.
_UPSTREAM_FAILED = frozenset({500, 502, 503, 504})

Messages = list[dict[str, str]]


class Unexpected(Exception):
    """An answer that the request shouldn't have had."""


@dataclass(slots=True)
class Tally:
    """What was asked, by kind, and which answers were unexpected."""

    asked: collections.Counter[str] = field(default_factory=collections.Counter)
    unexpected: collections.Counter[str] = field(default_factory=collections.Counter)


class Client:
    """Sends chat requests over connections that it keeps."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url + PATH
        self._session = session

    @asynccontextmanager
    async def asked(
        self, messages: Messages, key: str = KEY, **fields: object
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a chat request; `fields` are added to its body or replace it there."""
        body = orjson.dumps({"model": "auto", "messages": messages, **fields})
        async with self.sent(body, key) as response:
            yield response

    @asynccontextmanager
    async def sent(self, body: bytes, key: str = KEY) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to any body."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        async with self._session.post(self._url, data=body, headers=headers) as response:
            yield response


async def run_client(client: Client, number: int, is_over: asyncio.Event, tally: Tally) -> None:
    """Ask for one kind after the other, by chance, until told to stop."""
    chance = random.Random(number)
    kinds, weights = list(MIX), list(MIX.values())
    for count, messages in enumerate(itertools.cycle(list(conversations()))):
        if is_over.is_set():
            return
        kind = chance.choices(kinds, weights)[0]
        name = _name(kind)
        tally.asked[name] += 1
        try:
            await kind(client, numbered(messages, number * 1_000_000 + count))
        except (Unexpected, aiohttp.ClientError, TimeoutError) as error:
            tally.unexpected[f"{name}: {type(error).__name__} {error}"] += 1


async def _plain(client: Client, messages: Messages) -> None:
    async with client.asked(messages) as response:
        body = await response.read()
        _expect(response, 200)
    if body.count(WORD) != CHUNKS or b'"cost":' not in body:
        raise Unexpected("an incomplete answer")


async def _stream(client: Client, messages: Messages) -> None:
    async with client.asked(messages, **STREAMING) as response:
        body = await response.read()
        _expect(response, 200)
    if body.count(WORD) != CHUNKS or not body.endswith(_DONE) or b'"cost":' not in body:
        raise Unexpected("an incomplete stream")


async def _stream_without_usage(client: Client, messages: Messages) -> None:
    async with client.asked(messages, stream=True) as response:
        body = await response.read()
        _expect(response, 200)
    if body.count(WORD) != CHUNKS or not body.endswith(_DONE) or b'"cost":' in body:
        raise Unexpected("an incomplete stream, or a usage that nobody asked for")


async def _cancelled_in_stream(client: Client, messages: Messages) -> None:
    async with client.asked(messages, **STREAMING) as response:
        _expect(response, 200)
        await response.content.readany()
        response.close()


async def _cancelled_before_first_byte(client: Client, messages: Messages) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            async with client.asked(messages, metadata={"upstream": "slow"}) as response:
                raise Unexpected(f"an answer in no time, {response.status}")
    except TimeoutError:
        return


async def _cut_stream(client: Client, messages: Messages) -> None:
    """The upstream breaks off: one error event, and no `[DONE]`."""
    metadata = {"upstream": "cut"}
    async with client.asked(messages, model=FAULTY, metadata=metadata, **STREAMING) as response:
        body = await response.read()
        _expect(response, 200)
    if b'data: {"error":' not in body or _DONE in body:
        raise Unexpected("a cut stream that looks whole")


async def _upstream_error(client: Client, messages: Messages) -> None:
    metadata = {"upstream": "error"}
    async with client.asked(messages, model=FAULTY, metadata=metadata) as response:
        await _expect_error(response, _UPSTREAM_FAILED)


async def _upstream_hang_up(client: Client, messages: Messages) -> None:
    metadata = {"upstream": "drop"}
    async with client.asked(messages, model=FAULTY, metadata=metadata) as response:
        await _expect_error(response, _UPSTREAM_FAILED)


async def _bad_value(client: Client, messages: Messages) -> None:
    async with client.asked(messages, temperature=9) as response:
        await _expect_error(response, {400})


async def _bad_json(client: Client, messages: Messages) -> None:
    async with client.sent(b'{"model": "auto", "messages": [') as response:
        await _expect_error(response, {400})


async def _unknown_model(client: Client, messages: Messages) -> None:
    async with client.asked(messages, model="nobody") as response:
        await _expect_error(response, {404})


async def _wrong_key(client: Client, messages: Messages) -> None:
    async with client.asked(messages, key="sk-wrong") as response:
        await _expect_error(response, {401})


#: How often each kind comes, relative to the others.
MIX: dict[Callable[[Client, Messages], Awaitable[None]], int] = {
    _plain: 45,
    _stream: 20,
    _stream_without_usage: 5,
    _cancelled_in_stream: 8,
    _cancelled_before_first_byte: 3,
    _cut_stream: 3,
    _upstream_error: 3,
    _upstream_hang_up: 3,
    _bad_value: 3,
    _bad_json: 3,
    _unknown_model: 2,
    _wrong_key: 2,
}


def _name(kind: Callable[[Client, Messages], Awaitable[None]]) -> str:
    return kind.__name__.strip("_").replace("_", " ")


LEFT_EARLY = _name(_cancelled_before_first_byte)


def _expect(response: aiohttp.ClientResponse, status: int) -> None:
    if response.status != status:
        raise Unexpected(f"status {response.status}")


async def _expect_error(
    response: aiohttp.ClientResponse, statuses: frozenset[int] | set[int]
) -> None:
    """One of the statuses, with the error's envelope."""
    body = await response.read()
    if response.status not in statuses or not isinstance(orjson.loads(body).get("error"), dict):
        raise Unexpected(f"status {response.status}")
