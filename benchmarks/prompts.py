"""The chat requests that every system is asked alike: about 1 KB, no two of them equal."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import orjson

PATH = "/v1/chat/completions"
#: Different conversations; a serial number in each request makes it unlike any other.
CONVERSATIONS = 512

_ROLES = (
    "You help the customers of a small bank. Be polite, be brief, and never guess a balance.",
    "You are the reading companion of a public library. Recommend only what you can justify.",
    "You assist the people who keep a fleet of delivery vans running. Safety before speed.",
    "You answer questions of visitors to a technical museum, old and young, in plain words.",
    "You write for the newsletter of a gardening club. The readers are keen but not experts.",
    "You are at the help desk of a software house that makes programs for dentists.",
    "You work for a travel agency. Names, dates and prices stay exactly as they are given.",
    "You support the night shift of a hospital's laundry. Instructions are short and clear.",
)
_RULES = (
    "Answer in the language of the question. If a figure is missing, ask for it once.",
    "Don't repeat the question. Where there are several ways, name the simplest one first.",
    "Keep lists to five points. Leave out greetings, apologies and advice to ask others.",
    "When the facts don't settle the matter, say so and name what would settle it.",
)
_HOUSE_STYLE = (
    "House style: write as one colleague to another, in whole sentences and in the present tense. "
    "Use the words that the reader used; explain a term of the trade where it comes up first. "
    "Dates are written out, times have 24 hours, prices stand with their currency behind them. "
    "Don't promise what somebody else would have to do, and give no names of the staff. Text in "
    "quotation marks stays as it is, mistakes too. Where somebody could come to harm, begin with "
    "that, and give the number of the emergency service. End with the answer, not with an offer. "
    "One emoji is one too many. "
)
_QUESTIONS = (
    "Hello, are you there?",
    "When do you open on Saturdays?",
    "What is the capital of Portugal?",
    "Thanks, that helped a lot. Can you say it in one short sentence?",
    "Please translate 'the train is late' into German.",
    "Give me three names for a grey cat.",
    "How do I boil an egg?",
    "Which of these is heavier: a kilo of iron or a kilo of wool?",
    "Write a friendly reminder about a book that is two weeks late.",
    "Correct the spelling: 'we recieved you're letter yesterday'.",
    "My pump starts, runs for eight seconds and stops. What do I look at first?",
    "What does 'tenant' mean in a cloud contract, and who is it here?",
    "Compare leasing with buying for two vans over five years, with the costs of each.",
    "Prove that the sum of the first n odd numbers is a square, and say where n is used.",
    "Write a Python function that merges overlapping time slots, with its complexity and tests.",
    "A train leaves at 9:40 at 80 km/h, another at 10:10 at 110 km/h. Where do they meet?",
    "Derive the loan's monthly rate from sum, interest and years, then check it for 3 examples.",
    "Our SQL query over 40 million rows takes a minute. Which indexes would you try, and why?",
)
_SERIAL = "0000000"


def conversations() -> Iterator[list[dict[str, str]]]:
    """Messages of a system and a user, always the same ones in the same order."""
    chance = random.Random(20)
    every = list(itertools.product(_ROLES, _RULES, _QUESTIONS))
    for role, rule, question in chance.sample(every, CONVERSATIONS):
        yield [
            {"role": "system", "content": f"{role} {_HOUSE_STYLE}{rule}"},
            {"role": "user", "content": f"{question} (case {_SERIAL})"},
        ]


def numbered(messages: list[dict[str, str]], serial: int) -> list[dict[str, str]]:
    """The same conversation as a case of its own."""
    system, user = messages
    return [system, {**user, "content": user["content"].replace(_SERIAL, f"{serial:07d}")}]


class Requests:
    """An endless iterator over whole HTTP requests, the bytes as they go over the wire."""

    def __init__(
        self,
        port: int,
        model: str,
        key: str | None,
        serials: Iterator[int],
        fields: dict[str, Any] | None = None,
    ) -> None:
        """`fields` are added to each body; `serials` are shared, so that no body comes twice."""
        self._serials = serials
        self._halves = []
        for messages in conversations():
            settings = {"temperature": 0.7, "max_tokens": 256, **(fields or {})}
            body = orjson.dumps({"model": model, "messages": messages, **settings})
            before, _, after = http_request(PATH, body, port, key).partition(_SERIAL.encode())
            self._halves.append((before, after))

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        serial = next(self._serials)
        before, after = self._halves[serial % CONVERSATIONS]
        return b"%b%07d%b" % (before, serial, after)


#: What a streaming request has besides.
STREAMING: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def http_request(path: str, body: bytes, port: int, key: str | None = None) -> bytes:
    """The bytes of one POST with a JSON body."""
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"{authorization}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
