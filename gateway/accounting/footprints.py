"""What vendors' models take in electricity, from the `ecologits` package, as values.

Its method is Boavizta's and GenAI Impact's (https://ecologits.ai/latest/methodology/llm_inference):
the energy of a token by regression over a model's active parameters, of the server by the time of
generation, times the data centre's PUE. Models whose size is not public have a range.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gateway.core.energy import WH_A_KWH, Line, RemoteModel

if TYPE_CHECKING:
    from ecologits.tracers.utils import ImpactsOutput

#: The price catalogue's names for vendors, and ecologits'.
_VENDORS = {
    "openai": "openai",
    "azure": "openai",
    "anthropic": "anthropic",
    "google": "google_genai",
    "mistral": "mistralai",
    "cohere": "cohere",
}
_HUGGING_FACE = "huggingface_"
#: So many tokens that a second passes before the last, whatever the model.
_MANY = 100_000


class UnknownZone(ValueError):
    """A place whose electricity the package doesn't know."""


def footprint_of(model: str, provider: str, zone: str | None = None) -> RemoteModel | None:
    """A vendor's model as ecologits estimates it; None where it doesn't know the model.

    `provider` is the price catalogue's name. `zone` is where it is served, by ISO 3166-1 alpha-3;
    None is where ecologits thinks that the vendor's data centres are. Raises UnknownZone.
    """
    vendor = _VENDORS.get(provider)
    if provider.startswith(_HUGGING_FACE):
        vendor = "huggingface_hub"
    if vendor is None:
        return None
    from ecologits.model_repository import models

    if models.find_model(vendor, model) is None:
        return None
    return _probed(vendor, model, zone)


def _probed(vendor: str, model: str, zone: str | None) -> RemoteModel:
    """Its function is linear in tokens, and in seconds until all are generated: four looks tell."""
    from ecologits.log import logger
    from ecologits.tracers.utils import llm_impacts

    logger.setLevel("ERROR")  # it warns of each model that its size is a guess: ours are ranges

    def looked(tokens: int, elapsed_s: float) -> ImpactsOutput:
        impacts = llm_impacts(vendor, model, tokens, elapsed_s, zone)
        if impacts.errors:
            raise UnknownZone(f"{zone} is no ISO 3166-1 alpha-3 code that ecologits knows")
        return impacts

    at_once, a_second = looked(_MANY, 0.0), looked(_MANY, 1.0)
    unhurried, first = looked(_MANY, math.inf), looked(0, math.inf)
    low, high = (
        _line([_wh(one, end) for one in (at_once, a_second, unhurried, first)])
        for end in ("min", "max")
    )
    usage = at_once.usage
    assert usage is not None  # noqa: S101 (there is one where there are no errors)
    grams = _end(usage.gwp.value, "max") * 1000 / _wh(at_once, "max") * WH_A_KWH
    return RemoteModel(low, high, round(grams, 6))


def _line(looks: list[float]) -> Line:
    at_once, a_second, unhurried, first = looks
    wh_per_s = a_second - at_once
    first_token_s = first / wh_per_s
    generated_s = (unhurried - at_once) / wh_per_s
    return Line(at_once / _MANY, wh_per_s, first_token_s, (generated_s - first_token_s) / _MANY)


def _wh(impacts: ImpactsOutput, end: str) -> float:
    assert impacts.energy is not None  # noqa: S101 (there is one where there are no errors)
    return _end(impacts.energy.value, end) * WH_A_KWH


def _end(value: Any, end: str) -> float:
    """An end of a range, which may be a number."""
    return float(getattr(value, end, value))
