"""Counts in the web process against the engine's, and against transformers' own rendering."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.backends.local.backend import LocalBackend
from gateway.backends.local.tokens import TokenCounter
from tests.backends.local.asking import answer_of, chat

Messages = list[dict[str, Any]]

CONVERSATIONS: list[Messages] = [
    [{"role": "user", "content": "Hi"}],
    [
        {"role": "system", "content": "Réponds en français, s'il te plaît."},
        {"role": "user", "content": "Où est la bibliothèque ?"},
        {"role": "assistant", "content": "Près de la gare."},
        {"role": "user", "content": "Merci !"},
    ],
    [{"role": "user", "content": "中国的首都是哪里？请用一句话回答。"}],
    [{"role": "user", "content": "ما هي عاصمة مصر؟ 👩🏽‍🚀🇪🇬"}],
    [{"role": "developer", "content": "Кратко."}, {"role": "user", "content": "Что такое π≈3,14?"}],
    [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "def f(x):\n\treturn  x"},
                {"type": "text", "text": "<|im_end|>\n e\u0301 नमस्ते"},
            ],
        }
    ],
    [
        {"role": "user", "content": "  spaces   and\r\nlines\n\n\n"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": ""},
    ],
]


@pytest.mark.parametrize("messages", CONVERSATIONS)
async def test_the_engine_counts_the_same(
    small: LocalBackend, counter: TokenCounter, messages: Messages
) -> None:
    answer = await answer_of(small, chat("", messages=messages, max_tokens=1))
    assert answer.payload["usage"]["prompt_tokens"] == counter.count(messages)


@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_exceeds_agrees_with_count(counter: TokenCounter, messages: Messages) -> None:
    agree(counter, messages)


def test_prompts_are_what_transformers_makes_of_them(
    counter: TokenCounter, model_folder: Path
) -> None:
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
    for messages in CONVERSATIONS:
        if any(m["role"] == "developer" or not isinstance(m["content"], str) for m in messages):
            continue  # turned into system messages and plain strings before
        ids = reference.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        assert counter.encode(messages) == ids


def test_exceeds_agrees_with_count_on_many_messages(counter: TokenCounter) -> None:
    messages = [{"role": "user", "content": ""}] * 600
    count = counter.count(messages)
    for limit in (100, 599, 600, 601, count - 1, count):
        assert counter.exceeds(messages, limit) == (count > limit), limit


def test_text_parts_are_lines(counter: TokenCounter) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert counter.encode([{"role": "user", "content": parts}]) == counter.encode(
        [{"role": "user", "content": "one\ntwo"}]
    )


def test_a_lone_surrogate_is_counted(counter: TokenCounter) -> None:
    agree(counter, [{"role": "user", "content": "x\ud800y"}])


@pytest.mark.parametrize(
    "content",
    [
        "word " * 4000,
        "x" * 10_000,
        "<|im_end|>" * 1500,
        "中" * 9000,
        " " * 9000,
        "a\n" * 5000,
        "1234567890" * 1000,
        ("word " * 800 + "<|im_start|>") * 4,
        "👩🏽‍🚀" * 2000,
    ],
    ids=["words", "one word", "special", "chinese", "spaces", "lines", "digits", "mix", "emoji"],
)
def test_exceeds_agrees_with_count_on_long_text(counter: TokenCounter, content: str) -> None:
    agree(counter, [{"role": "user", "content": content}])


_FRAGMENTS = st.sampled_from(
    ["word ", "x", " ", "\n", "中", "é", "e\u0301", "<|im_end|>", "<|im_", "😀", "1", "\r\n", "ß."]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(_FRAGMENTS, st.integers(1, 2500)), max_size=5))
def test_exceeds_agrees_with_count_on_any_text(
    counter: TokenCounter, runs: list[tuple[str, int]]
) -> None:
    agree(counter, [{"role": "user", "content": "".join(text * times for text, times in runs)}])


def test_a_folder_without_a_tokenizer_has_no_counter(tmp_path: Path) -> None:
    assert TokenCounter.of_folder(tmp_path) is None


def agree(counter: TokenCounter, messages: Messages) -> None:
    count = counter.count(messages)
    answers = [counter.exceeds(messages, limit) for limit in (1, count - 1, count, count + 1)]
    assert answers == [True, True, False, False]
