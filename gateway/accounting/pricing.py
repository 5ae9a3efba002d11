"""What a call costs: exact decimal USD, rounded once, half-even, to a whole pico-USD."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

from gateway.core.energy import Energy
from gateway.core.price import PICO_USD, UNPRICED, Cost, Price
from gateway.core.usage import Usage

#: Above this the ledger's 64-bit pico-USD column would overflow; no single call costs as much.
MAX_USD = Decimal(9_000_000)

#: Wide enough for any token count times any rate, so that nothing is rounded before the end.
_EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)
_MILLION_EXPONENT = Decimal(-6)
_SECONDS_AN_HOUR = Decimal(3600)

#: Tokens, and USD per million of them.
_Part = tuple[int, Decimal | None]


def cost_of(usage: Usage, price: Price | None, energy: Energy | None = None) -> Cost:
    """The cost of one call: what the provider itself reported, else the price, else unpriced.

    The price is that of the call's time (`Price.at`). Its service tier and the length of its prompt
    choose the rates. Tokens of a prompt cache, of audio, of images and of thought are billed once,
    at rates of their own (the usual one where there is none). A rate per hour applies to
    `usage.compute_s`, one of electricity to `energy`. A call that uses what has no rate is
    unpriced; so is one at a service tier without a known price, and one of unknown energy where
    that has a rate.
    """
    reported = usage.reported_cost_usd
    if reported is not None and reported.is_finite() and 0 <= reported <= MAX_USD:
        return Cost(_rounded(reported), "provider")
    if price is None:
        return UNPRICED
    chosen = rates_for(usage, price)
    amount = None if chosen is None else _amount(usage, chosen, energy)
    if chosen is None or amount is None or amount > MAX_USD:
        return UNPRICED
    return Cost(amount, "computed", chosen.price_id)


def rates_for(usage: Usage, price: Price) -> Price | None:
    """What a price charges at a call's service tier and length of prompt; None if unknown."""
    served = price.for_service(usage.service_tier)
    return None if served is None else served.for_prompt(usage.prompt_tokens)


def amount_of(usage: Usage, price: Price, energy: Energy | None = None) -> Decimal | None:
    """What a price makes of one call's usage; None where a rate lacks."""
    chosen = rates_for(usage, price)
    return None if chosen is None else _amount(usage, chosen, energy)


def _amount(usage: Usage, price: Price, energy: Energy | None) -> Decimal | None:
    amount = _by_token(usage, price) if price.usd_per_hour is None else _hourly(usage, price)
    if amount is None or price.usd_per_kwh is None:
        return None if amount is None else _rounded(amount)
    if energy is None:
        return None
    return _rounded(_EXACT.add(amount, _for_energy(energy, price.usd_per_kwh)))


def usd_text(usd: Decimal | None) -> str | None:
    """An amount as a plain decimal, without exponent or idle zeros; None stays None."""
    return None if usd is None else format(usd.normalize(_EXACT), "f")


def pico_of(usd: Decimal) -> int:
    """An amount in whole pico-USD, as the ledger stores it."""
    return int(_EXACT.scaleb(_EXACT.quantize(usd, PICO_USD), Decimal(12)))


def usd_of(pico: int) -> Decimal:
    """The amount that a number of pico-USD stands for."""
    return _EXACT.scaleb(Decimal(pico), Decimal(-12)).normalize(_EXACT)


def usd_text_of(pico: int) -> str:
    """The same as `usd_text` writes it: thousands of amounts are written for one answer."""
    whole, rest = divmod(abs(pico), 10**12)
    text = f"{whole}.{rest:012}".rstrip("0").removesuffix(".") if rest else str(whole)
    return f"-{text}" if pico < 0 else text


def _by_token(usage: Usage, price: Price) -> Decimal | None:
    total = Decimal(0)
    characters = (usage.characters, price.usd_per_million_characters)
    for count, rate in (*_input_parts(usage, price), *_output_parts(usage, price), characters):
        if count:
            if rate is None:
                return None
            total = _EXACT.fma(Decimal(count), rate, total)
    if usage.searches:
        if price.usd_per_thousand_searches is None:
            return None
        a_search = _EXACT.scaleb(price.usd_per_thousand_searches, Decimal(3))
        total = _EXACT.fma(Decimal(usage.searches), a_search, total)
    amount = _EXACT.scaleb(total, _MILLION_EXPONENT)
    if not usage.audio_s:
        return amount
    heard = price.usd_per_audio_hour
    return None if heard is None else _EXACT.add(amount, _by_time(usage.audio_s, heard))


def _input_parts(usage: Usage, price: Price) -> list[_Part]:
    written_1h = min(usage.cache_write_1h_tokens, usage.cache_write_tokens)
    write_rate = price.usd_per_million_cache_write
    hour_rate = price.usd_per_million_cache_write_1h
    return _parts(
        usage.prompt_tokens,
        price.usd_per_million_input,
        (usage.cached_tokens, price.usd_per_million_cached_input),
        (written_1h, write_rate if hour_rate is None else hour_rate),
        (usage.cache_write_tokens - written_1h, write_rate),
        (usage.audio_input_tokens, price.usd_per_million_audio_input),
        (usage.image_input_tokens, price.usd_per_million_image_input),
    )


def _output_parts(usage: Usage, price: Price) -> list[_Part]:
    return _parts(
        usage.completion_tokens,
        price.usd_per_million_output,
        (usage.audio_output_tokens, price.usd_per_million_audio_output),
        (usage.image_output_tokens, price.usd_per_million_image_output),
        (usage.reasoning_tokens, price.usd_per_million_reasoning),
    )


def _parts(tokens: int, usual: Decimal | None, *special: _Part) -> list[_Part]:
    """Tokens by their rate: each is billed once, whatever the special ones add up to."""
    parts: list[_Part] = []
    for count, rate in special:
        if count:
            billed = min(count, tokens)
            tokens -= billed
            parts.append((billed, usual if rate is None else rate))
    parts.append((tokens, usual))
    return parts


def _hourly(usage: Usage, price: Price) -> Decimal | None:
    if usage.compute_s is None or price.usd_per_hour is None:
        return None
    return _by_time(usage.compute_s, price.usd_per_hour)


def _by_time(seconds: float, usd_per_hour: Decimal) -> Decimal:
    # `repr` of a float is its shortest exact name; the binary expansion would add 50 digits.
    return _EXACT.divide(_EXACT.multiply(Decimal(repr(seconds)), usd_per_hour), _SECONDS_AN_HOUR)


def _for_energy(energy: Energy, usd_per_kwh: Decimal) -> Decimal:
    return _EXACT.scaleb(_EXACT.multiply(Decimal(repr(energy.wh)), usd_per_kwh), Decimal(-3))


def _rounded(amount: Decimal) -> Decimal:
    return _EXACT.quantize(amount, PICO_USD).normalize(_EXACT)
