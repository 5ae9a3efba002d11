"""Chat logprobs as text completions have them, checked with the vendor's own types."""

from typing import Any

import pytest
from openai.types.completion_choice import Logprobs

from gateway.wire.completion_logprobs import LogprobsReader


def token(text: bytes, *likeliest: str, told: bool = True) -> dict[str, Any]:
    shown = text.decode("utf-8", "backslashreplace")
    others = [{"token": one, "logprob": -2.0, "bytes": None} for one in likeliest]
    spelt = list(text) if told else None
    return {"token": shown, "logprob": -0.5, "bytes": spelt, "top_logprobs": others}


def choice(*tokens: Any, index: int = 0) -> dict[str, Any]:
    return {"index": index, "logprobs": {"content": list(tokens), "refusal": None}}


def test_the_lists_belong_together() -> None:
    read = LogprobsReader().read(choice(token(b"Pa", "Pa", "Lo"), token(b"ris", "ris", "n")))
    assert read is not None
    assert Logprobs.model_validate(read, strict=True).to_dict() == read
    assert read == {
        "tokens": ["Pa", "ris"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"Pa": -2.0, "Lo": -2.0}, {"ris": -2.0, "n": -2.0}],
        "text_offset": [0, 2],
    }


@pytest.mark.parametrize("told", [True, False])
def test_offsets_go_on_from_chunk_to_chunk_in_each_choice(*, told: bool) -> None:
    reader = LogprobsReader()
    offsets = []
    for index, text in [(0, "naïve"), (1, "a"), (0, " 東京"), (1, "b"), (0, "!")]:
        read = reader.read(choice(token(text.encode(), told=told), index=index))
        assert read is not None
        assert read["top_logprobs"] is None
        offsets += read["text_offset"]
    assert offsets == [0, 0, 5, 1, 8]


def test_a_character_of_several_tokens_counts_once() -> None:
    unicorn = "🦄".encode()
    read = LogprobsReader().read(choice(token(unicorn[:2]), token(unicorn[2:]), token(b"!")))
    assert read is not None
    assert read["text_offset"] == [0, 0, 1]
    assert read["tokens"][0] == "\\xf0\\x9f"


@pytest.mark.parametrize("odd", [None, [], {}, {"content": None}, {"content": [5]}, "x"])
def test_where_none_are_told(odd: object) -> None:
    assert LogprobsReader().read({"index": 0, "logprobs": odd}) is None
    assert LogprobsReader().read({}) is None


@pytest.mark.parametrize("spelt", [[300], ["a"], "a", [None]])
def test_bytes_that_are_none(spelt: object) -> None:
    read = LogprobsReader().read(choice({**token(b"ab"), "bytes": spelt}, token(b"c")))
    assert read is not None
    assert read["text_offset"] == [0, 2]
