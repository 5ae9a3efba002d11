"""A virtual key's rates: counted before its request is worked on, put right when it has ended."""

from __future__ import annotations

from gateway.api.exchange import Exchange
from gateway.core.forwarding import ForwardedRequest
from gateway.core.request import ChatRequest
from gateway.core.usage import estimate_tokens


async def admit(exchange: Exchange, request: ChatRequest | ForwardedRequest | None) -> None:
    """Count a request that is work: one for a backend, or None for the gateway's own.

    The latter takes no tokens. Raises RateLimited.
    """
    limiter, key = exchange.limiter, exchange.key
    if limiter is None or key is None:
        return
    tokens = None if request is None else 0 if key.tpm is None else _expected(request)
    rates = await limiter.admit(key, tokens)
    exchange.headers = rates.headers
    if rates.refusal is not None:
        exchange.limiter = None
        raise rates.refusal
    exchange.tokens = tokens or 0


def settle(exchange: Exchange) -> None:
    """Put the tokens right that were counted for a request: what it took is known now."""
    limiter, key, entry = exchange.limiter, exchange.key, exchange.entry
    if limiter is None or key is None or key.tpm is None:
        return
    usage = None if entry is None else entry.usage
    used = 0 if usage is None else usage.prompt_tokens + usage.completion_tokens
    if used != exchange.tokens:
        limiter.correct(key, used - exchange.tokens)


def _expected(request: ChatRequest | ForwardedRequest) -> int:
    """The prompt's tokens by its length, and as many more as the client allows."""
    if isinstance(request, ForwardedRequest):
        return 0
    prompt = request.prompt_tokens
    if prompt is None:
        prompt = estimate_tokens(request.messages)
    return prompt + (request.max_tokens or 0)
