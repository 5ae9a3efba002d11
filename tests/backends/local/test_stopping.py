"""Stop strings: never let out, wherever the pieces of the text are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.local.stopping import StopFilter

# Few letters, so that stop strings occur, overlap and nearly occur.
_TEXT = st.text("ab€", max_size=24)
_STOPS = st.lists(st.text("ab€", min_size=1, max_size=4), max_size=3)


def shown(pieces: list[str], stop: list[str]) -> tuple[str, bool]:
    stops = StopFilter(stop)
    text = "".join(stops.push(piece) for piece in pieces)
    return text + stops.flush(), stops.stopped


def expected(text: str, stop: list[str]) -> tuple[str, bool]:
    """The text before the stop string that is complete first; the longest where several are."""
    for end in range(len(text) + 1):
        complete = [len(one) for one in stop if text[:end].endswith(one)]
        if complete:
            return text[: end - max(complete)], True
    return text, False


@given(_TEXT, _STOPS, st.lists(st.integers(0, 24), max_size=8))
def test_the_cuts_do_not_matter(text: str, stop: list[str], cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(bounds)]
    result = shown(pieces, stop)
    assert result == expected(text, stop)
    assert not any(one in result[0] for one in stop)


@given(_TEXT, _STOPS)
def test_nothing_is_held_back_that_can_not_become_a_stop_string(text: str, stop: list[str]) -> None:
    stops = StopFilter(stop)
    so_far = ""
    for count, letter in enumerate(text, 1):
        so_far += stops.push(letter)
        held = text[len(so_far) : count]
        assert stops.stopped or not held or any(one.startswith(held) for one in stop)


@pytest.mark.parametrize(
    ("pieces", "stop", "text"),
    [
        (["one", " two"], [], "one two"),
        (["on", "e t", "wo"], ["e two"], "on"),
        (["one e t", "en"], ["e two"], "one e ten"),
        (["stop"], ["stop"], ""),
        (["a\n", "\nb"], ["\n\n"], "a"),
        (["a\n"], ["\n\n"], "a\n"),
        (["", ""], ["x"], ""),
    ],
)
def test_examples(pieces: list[str], stop: list[str], text: str) -> None:
    assert shown(pieces, stop)[0] == text


def test_after_a_stop_string_nothing_more_is_shown() -> None:
    stops = StopFilter(["."])
    assert stops.push("One. Two") == "One"
    assert stops.push("three") == ""
    assert stops.flush() == ""


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ab<call>x.y", "ab<call>x.y"),
        ("a.b<call>", "a"),
        ("a<call", "a<call"),
        ("<call>", "<call>"),
        ("b<ca.", "b<ca"),
        ("x<cat", ""),
        ("x<ca", ""),
        ("x<call>.", "x<call>."),
    ],
)
def test_from_a_text_on_nothing_stops(text: str, shown: str, size: int) -> None:
    stops = StopFilter([".", "ll>", "x<c"], until="<call>")
    pieces = [stops.push(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join(pieces) + stops.flush() == shown
    assert stops.stopped == (shown != text)
