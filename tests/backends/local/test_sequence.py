"""Tokens into text: a real tokenizer, and logits that leave the sampler no choice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from gateway.backends.local.load import LoadedModel
from gateway.backends.local.network.summary import Summary
from gateway.backends.local.params import SamplingParams
from gateway.backends.local.sequence import Answering
from gateway.backends.local.template import ChatTemplate
from gateway.backends.local.tokens import ChatTokenizer

END = 2
NO_NETWORK: Any = None
VOCABULARY = 49152


@pytest.fixture(scope="module")
def model(model_folder: Path) -> LoadedModel:
    """All that an answer needs of a model: no network is run here, and prompts are bare text."""
    tokens = Tokenizer.from_file(str(model_folder / "tokenizer.json"))
    tokenizer = ChatTokenizer(tokens, ChatTemplate("{{ messages[0]['content'] }}", {}))
    return LoadedModel(NO_NETWORK, tokenizer, 8192, VOCABULARY, frozenset({END}), {}, "fp_none")


def tokens_of(model: LoadedModel, text: str) -> list[int]:
    return model.tokenizer.encode([{"role": "user", "content": text}])


def said(answer: Answering, tokens: list[int]) -> list[str]:
    """What each token lets be shown."""
    pieces = []
    for token in tokens:
        logits = torch.zeros(VOCABULARY)
        logits[token] = 1
        pieces.append(answer.accept(logits, Summary(token, float(logits.logsumexp(-1)))))
    return pieces


def answering(model: LoadedModel, *stop: str, max_tokens: int = 99) -> Answering:
    return Answering(model, [1], SamplingParams(temperature=0, stop=stop), max_tokens)


def test_a_character_of_several_tokens_comes_whole(model: LoadedModel) -> None:
    tokens = tokens_of(model, "🦄!")
    assert len(tokens) > 2
    pieces = said(answering(model), tokens)
    assert pieces == [*[""] * (len(tokens) - 2), "🦄", "!"]


@pytest.mark.parametrize(
    "text", ["naïve café", "中国的首都是北京。", "👩🏽‍🚀 a", "two  spaces\n\nb"]
)
def test_the_pieces_are_the_text(model: LoadedModel, text: str) -> None:
    pieces = said(answering(model), tokens_of(model, text))
    assert "".join(pieces) == text


def test_of_bytes_that_are_no_character_the_last_three_are_held_back(model: LoadedModel) -> None:
    broken = tokens_of(model, "🦄")[0]
    answer = answering(model)
    assert said(answer, [broken] * 8) == [*[""] * 3, *["\ufffd"] * 5]
    assert said(answer, tokens_of(model, "on")) == ["\ufffd" * 3 + "on"]


@pytest.mark.parametrize("broken", range(1, 6))
def test_a_character_after_bytes_that_are_none_is_whole(model: LoadedModel, broken: int) -> None:
    tokens = tokens_of(model, "🦄")
    pieces = said(answering(model), [*[tokens[-1]] * broken, *tokens, *tokens_of(model, "é!")])
    assert "".join(pieces) == "\ufffd" * broken + "🦄é!"


def test_bytes_without_end_are_told(model: LoadedModel) -> None:
    broken = tokens_of(model, "🦄")[-1]
    pieces = said(answering(model, max_tokens=200), [broken] * 200)
    assert "".join(pieces) == "\ufffd" * 200


def test_an_unfinished_character_is_shown_at_the_end(model: LoadedModel) -> None:
    broken = tokens_of(model, "🦄")[0]
    answer = answering(model)
    assert said(answer, [broken, END]) == ["", "\ufffd"]
    assert answer.finish_reason == "stop"


def test_the_end_token_is_not_counted(model: LoadedModel) -> None:
    answer = answering(model)
    said(answer, [*tokens_of(model, "Paris"), END])
    assert (answer.finish_reason, answer.completion_tokens) == ("stop", 1)


def test_the_limit_ends_the_answer(model: LoadedModel) -> None:
    tokens = tokens_of(model, "one two three")
    answer = answering(model, max_tokens=len(tokens))
    said(answer, tokens)
    assert (answer.finish_reason, answer.completion_tokens) == ("length", len(tokens))


def test_what_a_stop_string_held_back_comes_with_the_end(model: LoadedModel) -> None:
    tokens = tokens_of(model, "one two three")
    answer = answering(model, " three four")
    assert said(answer, [*tokens, END]) == ["one", " two", "", " three"]
    assert answer.finish_reason == "stop"


def test_what_a_stop_string_held_back_comes_with_the_limit(model: LoadedModel) -> None:
    tokens = tokens_of(model, "one two three")
    answer = answering(model, " three four", max_tokens=3)
    assert said(answer, tokens) == ["one", " two", " three"]
    assert answer.finish_reason == "length"


def test_a_stop_string_in_the_middle_of_a_token(model: LoadedModel) -> None:
    answer = answering(model, "o th")
    assert "".join(said(answer, tokens_of(model, "one two three"))) == "one tw"
    assert answer.finish_reason == "stop"


def test_the_marker_of_calls_as_a_word_lets_stop_strings_stop(model: LoadedModel) -> None:
    params = SamplingParams(temperature=0, stop=("END",))
    answer = Answering(model, [1], params, 99, may_call=True)
    pieces = said(answer, tokens_of(model, "I say <tool_call> and END"))
    assert ("".join(pieces), answer.finish_reason) == ("I say <tool_call> and ", "stop")
    answer = Answering(model, [1], params, 99, may_call=True)
    tokens = tokens_of(model, '<tool_call>\n{"name": "END"')
    assert "".join(said(answer, tokens)) == '<tool_call>\n{"name": "END"'
