"""Regular expressions that are run only where their text can hold a match: most can't."""

from __future__ import annotations

import re

_DIGITS = "0123456789"
_SPACES = " \n\t\r\f\v\x1c\x1d\x1e\x1f"
_TO_SPACES = str.maketrans(_SPACES, " " * len(_SPACES))
#: By byte: `a` a lower case letter, `A` an upper case one, else itself.
_CASES = bytes(
    ord("a" if char.islower() else "A" if char.isupper() else char) if char.isascii() else code
    for code, char in enumerate(map(chr, range(256)))
)


class Pattern:
    """A pattern that needs one of some strings in a text; `digits` are also needs where asked."""

    def __init__(self, pattern: str, *needs: str, digits: bool = False, flags: int = 0) -> None:
        self._pattern = re.compile(pattern, flags)
        self._needs = needs
        self._digits = digits

    def count(self, text: str) -> int:
        """How many matches there are."""
        return len(self._pattern.findall(text)) if self._is_possible(text) else 0

    def found(self, text: str) -> bool:
        """Whether there is a match."""
        return self._is_possible(text) and self._pattern.search(text) is not None

    def _is_possible(self, text: str) -> bool:
        return any(map(text.__contains__, self._needs)) or (self._digits and has_digit(text))


class LinePattern:
    """A pattern that matches at the beginning of lines alone (`^`, after it perhaps spaces)."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(f"^{pattern}", re.MULTILINE)

    def count(self, text: str) -> int:
        """How many matches there are."""
        if "\n" in text:
            return len(self._pattern.findall(text))
        return int(self._pattern.match(text) is not None)


def has_digit(text: str) -> bool:
    r"""Whether `\d` matches somewhere; a text that isn't ASCII may, without being looked at."""
    if not text.isascii():
        return True
    return any(map(text.__contains__, _DIGITS))


def ascii_sentences(text: str) -> int:
    """How many marks of an ASCII text end a sentence: white space or the end follows."""
    spaced = text.translate(_TO_SPACES)
    return (
        spaced.count(". ")
        + spaced.count("! ")
        + spaced.count("? ")
        + text.endswith((".", "!", "?"))
    )


def has_hump(text: str) -> bool:
    """Whether an ASCII lower case letter is followed by an upper case one."""
    return b"aA" in text.encode("utf-8", "surrogatepass").translate(_CASES)
