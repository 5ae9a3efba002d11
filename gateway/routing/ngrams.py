"""Words and word pairs of the question, as the classifier's vocabulary knows them."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from gateway.routing.conversation import Conversation
from gateway.routing.folding import is_unspaced, words_of
from gateway.routing.patterns import has_digit

#: Words of the question that are looked at, from its beginning and its end.
HEAD_WORDS, TAIL_WORDS = 220, 80

#: So many more n-grams are assumed that say nothing: a few words alone decide little.
SILENT_NGRAMS = 4

_DIGITS = re.compile(r"\d+")


def ngrams_of(conversation: Conversation) -> list[str]:
    """Different words and word pairs, numbers as `0`; character pairs where words have no spaces.

    Pairs are written `one_two`. The order is that of first appearance.
    """
    text = conversation.folded
    words = conversation.words
    if has_digit(text):
        text = _DIGITS.sub("0", text)
        words = words_of(text)
    if len(words) > HEAD_WORDS + TAIL_WORDS:
        words = [*words[:HEAD_WORDS], *words[-TAIL_WORDS:]]
    pairs = map("_".join, pairwise(words))
    grams = dict.fromkeys((*words, *pairs))
    if is_unspaced(text):
        characters = text[: HEAD_WORDS * 2]
        grams |= dict.fromkeys(map("{}{}".format, characters, characters[1:]))
    return list(grams)


def ngram_share(known: int) -> float:
    """By what the weights of `known` n-grams are multiplied: long texts don't add up to more."""
    return 1 / math.sqrt(known + SILENT_NGRAMS)
