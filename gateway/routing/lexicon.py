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

#: Words that are remembered with their matches, and letters of the longest one.
_REMEMBERED, _LONGEST_REMEMBERED = 20_000, 24

Concepts = tuple[str, ...]
Match = tuple[str, Concepts]


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
        self._seen = _Seen(self)
        self._phrases = {
            first: _Phrases(first, self._words, self._prefixes)
            for first in {term.split(" ")[0] for term in (*words, *prefixes) if " " in term}
        }

    def find(self, text: str, words: Sequence[str]) -> dict[str, int]:
        """How many different terms of each concept stand in a folded text with these words."""
        different = set(words)
        matches = set[Match]().union(*filter(None, map(self._seen.__getitem__, different)))
        if not self._phrases.keys().isdisjoint(different):
            matches.update(self._phrase_matches(words))
        if is_unspaced(text):
            matches.update(self._unspaced_matches(text))
        found: dict[str, int] = {}
        for _, concepts in matches:
            for concept in concepts:
                found[concept] = found.get(concept, 0) + 1
        return found

    def matches_of(self, word: str) -> frozenset[Match]:
        """What one word is a term of, or begins like."""
        return frozenset(match for form in _forms(word) for match in self._word_matches(form))

    def _phrase_matches(self, words: Sequence[str]) -> Iterator[Match]:
        for position, word in enumerate(words):
            phrases = self._phrases.get(word)
            if phrases is not None:
                yield from phrases.matches(words[position : position + 3])

    def _word_matches(self, word: str) -> Iterator[Match]:
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

    def _unspaced_matches(self, text: str) -> Iterator[Match]:
        for run in unspaced_runs(text[:_LONGEST_UNSPACED_TEXT]):
            for start in range(len(run)):
                for length in self._unspaced_lengths:
                    term = run[start : start + length]
                    concepts = self._unspaced.get(term)
                    if concepts is not None:
                        yield term, concepts


class _Phrases:
    """The terms of two or three words that begin with one word."""

    def __init__(
        self, first: str, whole: Mapping[str, Concepts], prefixes: Mapping[str, Concepts]
    ) -> None:
        begin = f"{first} "
        self._whole = {term: c for term, c in whole.items() if term.startswith(begin)}
        self._prefixes = [match for match in prefixes.items() if match[0].startswith(begin)]

    def matches(self, words: Sequence[str]) -> Iterator[Match]:
        """Terms that these two or three words are, or begin with."""
        longest = " ".join(words)
        for phrase in {" ".join(words[:2]), longest}:
            concepts = self._whole.get(phrase)
            if concepts is not None:
                yield phrase, concepts
        for match in self._prefixes:
            if longest.startswith(match[0]):
                yield match


class _Seen(dict[str, frozenset[Match]]):
    """Words and their matches, as far as they have been looked up; most words come again."""

    def __init__(self, lexicon: Lexicon) -> None:
        super().__init__()
        self._lexicon = lexicon

    def __missing__(self, word: str) -> frozenset[Match]:
        matches = self._lexicon.matches_of(word)
        if len(word) <= _LONGEST_REMEMBERED:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[word] = matches
        return matches


@cache
def shipped_lexicon() -> Lexicon:
    """The lexicon in the package."""
    source = resources.files("gateway.routing").joinpath("lexicon.json")
    return Lexicon(json.loads(source.read_text(encoding="utf-8")))


def concepts_in(text: str, words: Sequence[str]) -> dict[str, int]:
    """Counts of different terms by concept, from the shipped lexicon."""
    return shipped_lexicon().find(text, words)


def _forms(word: str) -> Iterator[str]:
    """The word, and for Arabic also without its article and prepositions."""
    yield word
    if "\u0600" <= word[0] <= "\u06ff":
        for prefix in _ARABIC_PREFIXES:
            if word.startswith(prefix) and len(word) > len(prefix) + 2:
                yield word.removeprefix(prefix)


def _frozen(table: Mapping[str, set[str]]) -> dict[str, Concepts]:
    return {term: tuple(sorted(concepts)) for term, concepts in table.items()}
