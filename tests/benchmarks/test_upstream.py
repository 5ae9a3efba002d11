from __future__ import annotations

import httpx
import openai
from openai.types.chat import ChatCompletionUserMessageParam

from benchmarks.upstream import CHUNKS

QUESTION: ChatCompletionUserMessageParam = {"role": "user", "content": "Hello"}


def test_it_speaks_the_wire_format_of_the_sdk(upstream_port: int) -> None:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{upstream_port}/v1", api_key="none") as client:
        answer = client.chat.completions.create(model="m", messages=[QUESTION])
        chunks = list(
            client.chat.completions.create(
                model="m",
                messages=[QUESTION],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == CHUNKS
    *most, last = chunks
    assert [one.usage for one in most] == [None] * (CHUNKS + 2)
    assert last.choices == []
    assert last.usage is not None
    text = "".join(one.choices[0].delta.content or "" for one in most)
    assert text == answer.choices[0].message.content


def test_it_counts_what_it_receives(upstream_port: int) -> None:
    url = f"http://127.0.0.1:{upstream_port}"
    with httpx.Client(base_url=url) as client:
        before = client.get("/received").json()["received"]
        for _ in range(3):
            client.post("/v1/chat/completions", json={"model": "m", "messages": [QUESTION]})
        assert client.get("/received").json()["received"] == before + 3
