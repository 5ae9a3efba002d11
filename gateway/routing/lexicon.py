"""Terms of 16 languages by concept (`lexicon.json`): one weight serves all languages.

In the file a term that ends in `*` stands for every word that begins so, and `_` joins the words
of a phrase. Chinese, Japanese and Thai terms are found anywhere in the text.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources

from gateway.routing.folding import fold, is_unspaced, unspaced_runs

UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th"})
_ARABIC_PREFIXES = ("ال", "وال", "بال", "لل", "و", "ب", "ل", "ف")
_LONGEST_UNSPACED_TEXT = 600

Concepts = tuple[str, ...]


class Lexicon:
    """Finds concepts in folded text by look-ups alone."""

    def __init__(self, terms: Mapping[str, Mapping[str, str]]) -> None:
        """`terms`: concept → language → terms, separated by spaces."""
        self.concepts = tuple(terms)
        words: dict[str, set[str]] = defaultdict(set)
        prefixes: dict[str, set[str]] = defaultdict(set)
        unspaced: dict[str, set[str]] = defaultdict(set)
        for concept, languages in terms.items():
            for language, listed in languages.items():
                whole = unspaced if language in UNSPACED_LANGUAGES else words
                for term in fold(listed).split():
                    table = prefixes if term.endswith("*") else whole
                    table[term.removesuffix("*").replace("_", " ")].add(concept)
        self._words = _frozen(words)
        self._prefixes = _frozen(prefixes)
        self._unspaced = _frozen(unspaced)
        self._prefix_lengths = sorted({len(term) for term in prefixes})
        self._unspaced_lengths = sorted({len(term) for term in unspaced})
        self._phrase_words = {term.split(" ")[0] for term in words if " " in term} | {
            term.split(" ")[0] for term in prefixes if " " in term
        }

    def find(self, text: str, words: Sequence[str]) -> dict[str, int]:
        """How many different terms of each concept stand in a folded text with these words."""
        found: dict[str, set[str]] = {}
        for term, concepts in self._matches(text, words):
            for concept in concepts:
                found.setdefault(concept, set()).add(term)
        return {concept: len(terms) for concept, terms in found.items()}

    def _matches(self, text: str, words: Sequence[str]) -> Iterator[tuple[str, Concepts]]:
        for position, word in enumerate(words):
            for form in self._forms(word):
                yield from self._word_matches(form)
            if word in self._phrase_words:
                for size in (2, 3):
                    phrase = " ".join(words[position : position + size])
                    yield from self._word_matches(phrase)
        if is_unspaced(text):
            yield from self._unspaced_matches(text)

    def _word_matches(self, word: str) -> Iterator[tuple[str, Concepts]]:
        concepts = self._words.get(word)
        if concepts is not None:
            yield word, concepts
        size = len(word)
        for length in self._prefix_lengths:
            if length > size:
                return
            concepts = self._prefixes.get(word[:length])
            if concepts is not None:
                yield word[:length], concepts

    def _forms(self, word: str) -> Iterator[str]:
        """The word, and for Arabic also without its article and prepositions."""
        yield word
        if "\u0600" <= word[0] <= "\u06ff":
            for prefix in _ARABIC_PREFIXES:
                if word.startswith(prefix) and len(word) > len(prefix) + 2:
                    yield word.removeprefix(prefix)

    def _unspaced_matches(self, text: str) -> Iterator[tuple[str, Concepts]]:
        for run in unspaced_runs(text[:_LONGEST_UNSPACED_TEXT]):
            for start in range(len(run)):
                for length in self._unspaced_lengths:
                    term = run[start : start + length]
                    concepts = self._unspaced.get(term)
                    if concepts is not None:
                        yield term, concepts


@cache
def shipped_lexicon() -> Lexicon:
    """The lexicon in the package."""
    source = resources.files("gateway.routing").joinpath("lexicon.json")
    return Lexicon(json.loads(source.read_text(encoding="utf-8")))


def concepts_in(text: str, words: Sequence[str]) -> dict[str, int]:
    """Counts of different terms by concept, from the shipped lexicon."""
    return shipped_lexicon().find(text, words)


def _frozen(table: Mapping[str, set[str]]) -> dict[str, Concepts]:
    return {term: tuple(sorted(concepts)) for term, concepts in table.items()}
