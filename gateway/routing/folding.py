"""Text as the router reads it: one case, Latin without accents, Arabic and Cyrillic spellings
united, cut into words where the script has them."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\s.,;:!?…()\[\]{}\"«»„“”‘。、！？，；：・「」『』（）|<>/\\=+*^$#@~`&%]+")
_SEPARATORS = '.,;:!?()[]{}"|<>/\\=+*^$#@~`&%'
_SEPARATORS_TO_SPACES = str.maketrans(_SEPARATORS, " " * len(_SEPARATORS))
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")
_UNSPACED_RUN = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")


def _folding_table() -> dict[int, str]:
    table = {ord("ß"): "ss", ord("ı"): "i", ord("ø"): "o", ord("ł"): "l", ord("đ"): "d"}
    table |= {ord(variant): "ا" for variant in "أإآ"}
    table |= {ord("ى"): "ي", ord("ё"): "е", ord("’"): "'"}
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        base = unicodedata.normalize("NFD", chr(code))[0]
        if base.isascii():
            table.setdefault(code, base.lower())
    table |= dict.fromkeys(range(0x064B, 0x0653), "")  # Arabic vowel signs
    return table


_TABLE = _folding_table()


def fold(text: str) -> str:
    """Lower case, accents and spelling variants removed."""
    lowered = text.lower()
    return lowered if lowered.isascii() else lowered.translate(_TABLE)


def words_of(folded: str) -> list[str]:
    """Words between spaces and punctuation; a run of Chinese, Japanese or Thai is one word."""
    if folded.isascii():
        return folded.translate(_SEPARATORS_TO_SPACES).split()
    return _WORD.findall(folded)


def is_unspaced(text: str) -> bool:
    """Whether the text has characters of a script without spaces between words."""
    return not text.isascii() and _UNSPACED.search(text) is not None


def unspaced_runs(folded: str) -> list[str]:
    """The stretches written in a script without spaces between words."""
    return _UNSPACED_RUN.findall(folded)
