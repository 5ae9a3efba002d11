"""What every system is asked: prompts of an exact number of tokens, no two with the same start."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.local.play import Stream

SHORT_PROMPT = 64
LONG_PROMPT = 1500
NEW_TOKENS = 64
CONCURRENT = (1, 8, 16)
#: While a long prompt is read, so many other answers are being written.
OTHERS = 4
_LONG_AFTER_S = 0.7
_OTHERS_TOKENS = 200

_SUBJECTS = (
    *("The old lighthouse keeper", "A young doctor", "My neighbour's dog", "The night train"),
    *("Our village choir", "The captain of the ferry", "A student of history", "The last baker"),
)
_VERBS = (
    *("waited for", "often wrote about", "had never seen", "remembered", "slowly walked around"),
    *("was told to look after", "made a careful drawing of", "refused to speak of"),
)
_OBJECTS = (
    *("the harbour in winter", "a small red boat", "the broken clock", "two letters from home"),
    *("the garden behind the school", "an empty suitcase", "the river at dawn", "a map of stars"),
)
_TIMES = (
    *("before the storm came", "when the bells rang", "for almost an hour", "after the long war"),
    *("while it was still dark", "on the first day of spring", "without a word", "every evening"),
)


class Prompts:
    """Little stories, made up anew each time, cut to length."""

    def __init__(self, tokenizer_file: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._chance = random.Random(6)
        self._serial = 0

    def text(self, tokens: Sequence[int]) -> str:
        """The text of a prompt."""
        found: str = self._tokenizer.decode(list(tokens), skip_special_tokens=False)
        return found

    def of(self, length: int) -> list[int]:
        """A new prompt that has so many tokens, as ids and as the text of these ids alike."""
        while True:
            self._serial += 1
            text = f"{self._serial * 7919 % 10_000} stories. "
            while len(text) < 8 * length:
                sentence = (self._chance.choice(part) for part in (_SUBJECTS, _VERBS, _OBJECTS))
                text += f"{' '.join(sentence)} {self._chance.choice(_TIMES)}. "
            ids: list[int] = self._tokenizer.encode(text).ids[:length]
            if self._tokenizer.encode(self.text(ids)).ids == ids:
                return ids

    def alike(self, count: int) -> list[Stream]:
        """Short prompts, all asked at once."""
        return [Stream(self.of(SHORT_PROMPT), NEW_TOKENS) for _ in range(count)]

    def long(self) -> list[Stream]:
        """One long prompt and a short answer."""
        return [Stream(self.of(LONG_PROMPT), 4)]

    def long_among_others(self) -> list[Stream]:
        """Answers that are being written when a long prompt comes, which is the last one."""
        others = [Stream(self.of(SHORT_PROMPT), _OTHERS_TOKENS) for _ in range(OTHERS)]
        return [*others, Stream(self.of(LONG_PROMPT), 4, after_s=_LONG_AFTER_S)]
