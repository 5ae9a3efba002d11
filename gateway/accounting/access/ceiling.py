"""The most that one attempt can cost: what a budget sets aside before the backend is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from gateway.accounting.energy import most_energy
from gateway.accounting.pricing import MAX_USD, amount_of, pico_of
from gateway.core.deployment import Deployment
from gateway.core.forwarding import ForwardedRequest
from gateway.core.price import STANDARD_SERVICE, Price
from gateway.core.request import ChatRequest
from gateway.core.usage import Usage
from gateway.wire.anthropic_options import THINKING_TOKENS

#: What a chat template, or a vendor's own prompt for tools, adds at most.
FRAME_TOKENS = 1_024
#: gpt-4o-mini takes 48,169 for the largest image at high detail; others take far fewer.
MOST_TOKENS_AN_IMAGE = 50_000
#: Where nobody says how much a model reads, and how much it writes at once.
WIDEST_WINDOW = 1_000_000
LONGEST_OUTPUT = 128_000
#: What is passed on has no limit of its own: an image of the best quality is 6,208 tokens.
MOST_FORWARDED_OUTPUT = 16_384
#: Searches of one call, where the model may search.
MOST_SEARCHES = 50
#: Bytes a second of the leanest sound, 6 kbit/s.
LEAST_SOUND_BYTES = 750

_INPUT_RATES = (
    "usd_per_million_input",
    "usd_per_million_cached_input",
    "usd_per_million_cache_write",
    "usd_per_million_cache_write_1h",
    "usd_per_million_audio_input",
    "usd_per_million_image_input",
)
_OUTPUT_RATES = (
    "usd_per_million_output",
    "usd_per_million_audio_output",
    "usd_per_million_image_output",
    "usd_per_million_reasoning",
)
_TEXT_PARTS = frozenset({"text", "refusal", "input_text", "output_text", "input_audio"})
_IMAGE_PARTS = frozenset({"image_url", "image", "input_image"})
#: The field that lets an upstream read more than the request holds.
_READS_ON = "web_search_options"
#: The most images that a form may ask for; the gateway doesn't read how many it does.
_MOST_IMAGES = 10


@dataclass(slots=True, frozen=True)
class Ceiling:
    """How far one deployment can go where a request names no limit.

    `output_tokens` None means as far as its window; `compute_s` bounds what is priced by the hour.
    """

    output_tokens: int | None = None
    compute_s: float = 600.0


def highest_cost(
    request: ChatRequest | ForwardedRequest,
    deployment: Deployment,
    price: Price | None,
    ceiling: Ceiling,
    at: datetime,
) -> int | None:
    """In pico-USD, at the dearest rates that may apply; None where the price isn't known.

    Nor is that of a service tier which no price lists.

    `at` is when the attempt begins, which decides on rates that change.
    """
    if price is None:
        return None
    price = price.at(at)
    services = _services_asked(price, request.payload or {}, deployment.backend)
    if services is None:
        return None
    if isinstance(request, ForwardedRequest):
        usage = _most_forwarded(request, price)
    else:
        usage = _most_asked(request, deployment, ceiling)
    dearest = _dearest(price, usage.prompt_tokens, services)
    if dearest.usd_per_thousand_searches is not None and _may_search(request):
        usage = replace(usage, searches=MOST_SEARCHES)
    amount = amount_of(usage, dearest, most_energy(deployment.energy, ceiling.compute_s))
    return None if amount is None else pico_of(min(amount, MAX_USD))


def _services_asked(price: Price, payload: Mapping[str, Any], backend: str) -> list[Price] | None:
    """The prices of the service tiers that may serve a call; None if one of them isn't known.

    Where a request names none, or one that its backend doesn't pass on, the account's may serve.
    """
    known = dict(price.service_tiers)
    asked = payload.get("service_tier") if backend == "openai" else None
    named = [asked or "auto"]
    if payload.get("speed") == "fast" and backend == "anthropic":
        named.append("fast")
    if not all(isinstance(name, str) for name in named):
        return None
    lower = {name.lower() for name in named}
    others = lower - STANDARD_SERVICE
    if not known.keys() >= others:
        return None
    return [one for name, one in known.items() if name in others or "auto" in lower]


def _dearest(price: Price, prompt_tokens: int, services: Sequence[Price]) -> Price:
    """One price with the dearest rate of each side for every token, of all that may apply."""
    reached = [
        tier
        for service in (price, *services)
        for tier in (
            service,
            *(one.price for one in service.tiers if one.above_tokens < prompt_tokens),
        )
    ]
    return Price(
        price.price_id,
        usd_per_million_input=_highest(reached, _INPUT_RATES),
        usd_per_million_output=_highest(reached, _OUTPUT_RATES),
        usd_per_million_characters=_highest(reached, ("usd_per_million_characters",)),
        usd_per_audio_hour=_highest(reached, ("usd_per_audio_hour",)),
        usd_per_thousand_searches=_highest(reached, ("usd_per_thousand_searches",)),
        usd_per_hour=price.usd_per_hour,
        usd_per_kwh=price.usd_per_kwh,
    )


def _highest(prices: Sequence[Price], names: Sequence[str]) -> Decimal | None:
    rates = (getattr(price, name) for price in prices for name in names)
    return max((rate for rate in rates if rate is not None), default=None)


def _may_search(request: ChatRequest | ForwardedRequest) -> bool:
    return isinstance(request, ChatRequest) and (
        request.native_only is not None or _READS_ON in request.payload
    )


def _most_asked(request: ChatRequest, deployment: Deployment, ceiling: Ceiling) -> Usage:
    window = deployment.context_window or WIDEST_WINDOW
    prompt = _most_read(request, window)
    if request.wire == "embeddings":
        return Usage(prompt, 0, compute_s=ceiling.compute_s)
    count, prompts = _answers(request)
    output = request.max_tokens
    if output is None:
        output = ceiling.output_tokens or min(window, LONGEST_OUTPUT)
        if deployment.backend == "anthropic":  # its thinking comes on top of a limit of ours
            output += max(THINKING_TOKENS.values())
    if "prediction" in request.payload:  # what it guessed wrong is billed as output
        output += len(request.raw)
    # A text completion's prompts are read each for itself, and all stand in the bytes.
    return Usage(prompt, output * count * prompts, compute_s=ceiling.compute_s)


def _most_read(request: ChatRequest, window: int) -> int:
    """No token of a text is shorter than a byte; the window ends what isn't text."""
    size = max(len(request.raw), len(request.native or b""))
    most = size + FRAME_TOKENS
    if request.wire in {"embeddings", "completions"}:
        return most
    if _may_search(request):
        return window
    for kind in _kinds_of_parts(request.messages):
        if kind in _IMAGE_PARTS:
            most += MOST_TOKENS_AN_IMAGE
        elif kind not in _TEXT_PARTS:
            return window
    return min(most, window)


def _kinds_of_parts(messages: Any) -> Iterator[object]:
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, Mapping):
                yield part.get("type", "text")


def _answers(request: ChatRequest) -> tuple[int, int]:
    """Answers to each prompt, and prompts."""
    body: Mapping[str, Any] = request.payload
    if request.wire == "completions" and request.native is not None:
        body = orjson.loads(request.native)
    prompt = body.get("prompt")
    prompts = 1
    if request.wire == "completions" and isinstance(prompt, list) and prompt:
        prompts = 1 if isinstance(prompt[0], int) else len(prompt)
    return max(_count(body.get("n")), _count(body.get("best_of"))), prompts


def _count(value: object) -> int:
    return value if type(value) is int and value > 0 else 1


def _most_forwarded(request: ForwardedRequest, price: Price) -> Usage:
    size = len(request.body)
    if price.usd_per_million_characters is not None and request.characters:
        return Usage(0, 0, characters=request.characters)
    if price.usd_per_audio_hour is not None and price.usd_per_million_input is None:
        return Usage(0, 0, audio_s=size / LEAST_SOUND_BYTES)
    count = 1
    if request.payload is not None:
        count = _count(request.payload.get("n"))
    elif "/images/" in request.endpoint:
        count = _MOST_IMAGES
    output = 0 if price.usd_per_million_output is None else MOST_FORWARDED_OUTPUT * count
    return Usage(size + FRAME_TOKENS, output)
