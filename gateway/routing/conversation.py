"""A conversation as the features see it: bounded windows of its text, cut and folded once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from gateway.routing.folding import fold, words_of
from gateway.routing.lazy import lazy
from gateway.routing.lexicon import concepts_in
from gateway.routing.patterns import has_digit

#: Characters at each end of a message where its instruction is looked for: people paste first
#: and ask after, or the other way round.
ZONE = 450
#: Characters of a message that are looked at for its kind (code, mathematics, format).
SAMPLE_HEAD, SAMPLE_TAIL = 2000, 800
#: Earlier user turns that are looked at, newest first, and characters of each.
EARLIER_TURNS, EARLIER_ZONE = 4, 300

#: A passage in quotation marks is what the question is about, seldom what it asks.
_QUOTED = re.compile(
    r"\"[^\"\n]{12,}\"|“[^”]{12,}”|„[^“”]{12,}[“”]|«[^»]{12,}»|「[^」]{6,}」|『[^』]{6,}』"
)
_QUOTATION_MARKS = '"“„«「『'
_CHOICE = re.compile(r"^\(?[A-J][.):]\s*(.*)$", re.MULTILINE)
_LEAST_CHOICES = 3
_FORMULA = re.compile(r"\\[a-zA-Z]{2,}|\$[^$\n]{1,200}\$")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？؟।]")
_QUESTION_MARKS = ("?", "？", "؟")
_TASKS_ON_A_TEXT = ("rewrite", "translate", "extract", "greeting", "thanks")
_LONGEST_LAST_SENTENCE = 150
_LONGEST_PROBLEM = 1500
_LONGEST_TOLD = 700
_PARAGRAPH = re.compile(r"\n\s*\n|[:：]\s*\n")

#: What a question looks like: an exam's forms have one right answer, whose difficulty shows in
#: length, numbers and format; a chat's does not.
Form = Literal["chat", "choice", "traced", "problem"]
FORMS: tuple[Form, ...] = ("chat", "choice", "traced", "problem")


class Turn(NamedTuple):
    """One message: who said it and its text."""

    role: str
    text: str


class Conversation:
    """What the features are computed from. Work is bounded, however long the text."""

    def __init__(self, messages: Sequence[Mapping[str, Any]]) -> None:
        self._messages = messages

    @lazy
    def turns(self) -> list[Turn]:
        """The last turns, oldest first, and the system prompt if there is one."""
        kept = self._messages[-2 * EARLIER_TURNS - 1 :]
        first = self._messages[:1] if len(self._messages) > len(kept) else ()
        return [Turn(str(m.get("role", "")), text_of(m.get("content"))) for m in (*first, *kept)]

    @property
    def length(self) -> int:
        """How many messages there are in all."""
        return len(self._messages)

    @lazy
    def question(self) -> str:
        """The last user message, or the last message of any kind."""
        asked = [turn.text for turn in self.turns if turn.role == "user"]
        if asked:
            return asked[-1]
        return self.turns[-1].text if self.turns else ""

    @lazy
    def zone(self) -> str:
        """Head and tail of the question without quoted passages, folded."""
        text = _ends(self.question)
        unquoted = (
            _QUOTED.sub('""', text) if any(map(text.__contains__, _QUOTATION_MARKS)) else text
        )
        return self.folded if unquoted == self.sample else fold(unquoted)

    @lazy
    def folded(self) -> str:
        """The sample, folded."""
        return fold(self.sample)

    @lazy
    def words(self) -> list[str]:
        """The words of the sample, folded."""
        return words_of(self.folded)

    @lazy
    def zone_words(self) -> list[str]:
        """The words of the zone."""
        return self.words if self.zone is self.folded else words_of(self.zone)

    @lazy
    def instruction(self) -> str:
        """Where the question says what it wants, folded: not in the middle of a pasted text."""
        if "\n" not in self.zone:
            return self.zone
        paragraphs = _PARAGRAPH.split(self.zone.strip())
        return self.zone if len(paragraphs) == 1 else f"{paragraphs[0]}\n{paragraphs[-1]}"

    @lazy
    def instruction_words(self) -> list[str]:
        """The words of the instruction."""
        return self.zone_words if self.instruction is self.zone else words_of(self.instruction)

    @lazy
    def sample(self) -> str:
        """Head and tail of the question, as written."""
        text = self.question
        if len(text) <= SAMPLE_HEAD + SAMPLE_TAIL:
            return text
        return f"{text[:SAMPLE_HEAD]}\n{text[-SAMPLE_TAIL:]}"

    @lazy
    def choices(self) -> list[re.Match[str]]:
        """The answers to choose from (group 1 is the text) where there are three or more."""
        if self.sample.count("\n") < _LEAST_CHOICES - 1:
            return []
        found = list(_CHOICE.finditer(self.sample))
        return found if len(found) >= _LEAST_CHOICES else []

    @property
    def is_traced(self) -> bool:
        """Whether the question is what a program gives."""
        return "assert " in self.sample or ">>>" in self.sample

    @lazy
    def is_exam(self) -> bool:
        """Whether the question has the form of an exam: its features weigh apart from a chat's."""
        return bool(self.choices) or self.is_traced

    @lazy
    def form(self) -> Form:
        """What the question looks like; within a conversation it is always a chat."""
        if any(turn.role == "assistant" for turn in self.turns):
            return "chat"
        if self.choices:
            return "choice"
        if self.is_traced:
            return "traced"
        return "problem" if self._is_problem() else "chat"

    def _is_problem(self) -> bool:
        """Whether the question has a formula, or tells a story with numbers and asks for one."""
        text = self.question.strip()
        if len(text) > _LONGEST_PROBLEM:
            return False
        if ("$" in text or "\\" in text) and _FORMULA.search(text) is not None:
            return True
        if len(text) > _LONGEST_TOLD or "\n" in text or not has_digit(text):
            return False
        numbers = len(_NUMBER.findall(text))
        sentences = len(_SENTENCE_END.findall(text))
        asks = any(mark in text[-_LONGEST_LAST_SENTENCE:] for mark in _QUESTION_MARKS)
        is_told = numbers >= 3 or (numbers >= 2 and sentences >= 2)
        return asks and is_told and not any(self.concepts.get(task) for task in _TASKS_ON_A_TEXT)

    @lazy
    def concepts(self) -> Mapping[str, int]:
        """How many different terms of each concept the instruction has."""
        return concepts_in(self.instruction, self.instruction_words)

    @lazy
    def earlier_concepts(self) -> Mapping[str, int]:
        """The same over the earlier turns; empty in a first question."""
        earlier = [turn.text for turn in self.turns if turn.role in {"user", "assistant"}][:-1]
        text = fold("\n".join(text[:EARLIER_ZONE] for text in earlier[-EARLIER_TURNS:]))
        return concepts_in(text, words_of(text)) if text else {}

    @lazy
    def system(self) -> str:
        """The beginning of the system prompt, folded; empty where there is none."""
        prompts = (turn.text for turn in self.turns if turn.role in {"system", "developer"})
        return fold(next(prompts, "")[:EARLIER_ZONE])


def _ends(text: str) -> str:
    return text if len(text) <= 2 * ZONE else f"{text[:ZONE]}\n{text[-ZONE:]}"


def text_of(content: object) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") if isinstance(part, Mapping) else part for part in content)
    return "\n".join(part for part in parts if isinstance(part, str))
