"""Fields of `/v1/completions`: all that OpenAI's SDK knows, and an unknown one."""

from __future__ import annotations

from tests.compatibility.case import (
    Case,
    each_of,
)

COMPLETIONS = [
    *each_of(
        best_of=2,
        echo=True,
        frequency_penalty=0.5,
        logit_bias={"1": 5},
        logprobs=2,
        max_tokens=2,
        n=2,
        presence_penalty=0.5,
        seed=7,
        stop=["END"],
        stream=True,
        suffix="!",
        temperature=0.5,
        top_p=0.5,
        user="someone",
        x_unknown={"b": 1.5},
    ),
    Case("prompt: several", {"prompt": ["Hi", "Ho"]}),
    Case("prompt: tokens", {"prompt": [1, 2]}),
    Case("stream_options", {"stream_options": {"include_usage": True}}, {"stream": True}),
]
