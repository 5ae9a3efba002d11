import pytest

from gateway.routing.folding import fold, words_of
from gateway.routing.lexicon import Lexicon, concepts_in


def found(text: str) -> set[str]:
    folded = fold(text)
    return set(concepts_in(folded, words_of(folded)))


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("Show that it holds.", "proof"),
        ("DÉMONTREZ LE THÉORÈME", "proof"),
        ("demontrez le theoreme", "proof"),
        ("Докажите теорему", "proof"),
        ("请证明这个结论", "proof"),
        ("والبرهان", "proof"),
        ("정리를 증명하시오", "proof"),
        ("What's the capital of Peru", "everyday"),
        ("à demain, merci !", "thanks"),
        ("Übersetze das bitte", "translate"),
    ],
)
def test_terms_are_found_whatever_their_spelling(text: str, concept: str) -> None:
    assert concept in found(text)


def test_a_term_counts_once() -> None:
    lexicon = Lexicon({"proof": {"en": "prove* lemma", "zh": "证明"}})
    text = fold("prove proves lemma lemma 证明证明")
    assert lexicon.find(text, words_of(text)) == {"proof": 3}


def test_a_phrase_is_found_over_words_only() -> None:
    lexicon = Lexicon({"x": {"en": "race_condition"}})
    assert lexicon.find("a race condition", ["a", "race", "condition"]) == {"x": 1}
    assert lexicon.find("a race", ["a", "race"]) == {}
