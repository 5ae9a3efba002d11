"""Which language a question is in, where a deployment is limited to some."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

#: Characters that are looked at.
_LOOKED_AT = 400
#: Below this probability (0..1) the language counts as unknown: one or two words tell little.
_LEAST_SURE = 0.9
#: The languages that are told apart: rare neighbours (Galician, Aragonese) would cast doubt on
#: every short text in a common one.
_CANDIDATES = (
    "ar bg cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv ms nl no pl pt ro ru sk sl "
    "sv sw ta th tl tr uk ur vi zh"
)


def language_of(text: str) -> str | None:
    """ISO 639-1 code of the language; None where it can't be told."""
    head = text[:_LOOKED_AT].strip()
    if not head:
        return None
    language, probability = _identifier()(head)
    return language if probability >= _LEAST_SURE else None


@cache
def _identifier() -> Callable[[str], tuple[str, float]]:
    """py3langid's model (Lui and Baldwin 2012), loaded once, and only where it is asked for."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    identifier.set_languages(_CANDIDATES.split())

    def classify(text: str) -> tuple[str, float]:
        language, probability = identifier.classify(text)
        return str(language), float(probability)

    return classify
