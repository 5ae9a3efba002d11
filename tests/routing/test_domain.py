"""Where the score can't be relied on."""

import pytest

from gateway.routing.classifier import load_scorer
from gateway.routing.conversation import Conversation
from gateway.routing.domain import Domain, script_of

SCORER = load_scorer()


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hello", "latin"),
        ("Übermäßig größer", "latin"),
        ("привет, мир", "cyrillic"),
        ("你好，世界", "cjk"),
        ("こんにちは", "cjk"),
        ("안녕하세요", "hangul"),
        ("שלום עולם", "hebrew"),
        ("გამარჯობა", "other"),
        ("1 + 1 = 2?", None),
        ("", None),
    ],
)
def test_the_script_of_most_letters(text: str, script: str | None) -> None:
    assert script_of(text) == script


def asked(text: str) -> Conversation:
    return Conversation([{"role": "user", "content": text}])


def test_each_reason_to_doubt_has_its_word() -> None:
    domain = Domain(("latin",), least_known=0.5, longest=100)
    assert domain.foreign(asked("short"), 20, 15) is None
    assert domain.foreign(asked("short"), 20, 9) == "foreign_words"
    assert domain.foreign(asked("short"), 5, 0) is None, "too few words to tell"
    assert domain.foreign(asked("привет"), 20, 20) == "foreign_script"
    assert domain.foreign(asked("x" * 101), 20, 20) == "foreign_length"


@pytest.mark.parametrize("text", ["გთხოვთ დაამტკიცოთ ეს თეორემა", "הוכח את המשפט הזה בבקשה"])
def test_the_shipped_router_knows_what_it_has_not_learnt(text: str) -> None:
    assert SCORER.assess([{"role": "user", "content": text}]).foreign == "foreign_script"


@pytest.mark.parametrize("text", ["hi", "Translate 'good morning' into French.", "¿Qué hora es?"])
def test_everyday_questions_are_at_home(text: str) -> None:
    assert SCORER.assess([{"role": "user", "content": text}]).foreign is None
