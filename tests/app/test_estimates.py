"""What a request would cost before it is answered."""

from decimal import Decimal

import orjson
import pytest

from gateway.api.completions import CompletionsFormat
from gateway.app.estimates import Estimates
from gateway.core.deployment import Deployment, Tier
from gateway.core.price import Price

PRICE = Price(price_id="p", usd_per_million_input=Decimal(2), usd_per_million_output=Decimal(4))
VLLM = Deployment("vllm", Tier.LARGE, "openai", "base", price=PRICE)


@pytest.mark.parametrize(
    ("prompt", "tokens"), [([7] * 1000, 1000), ([[7] * 400, [7] * 600], 1000), ("a" * 400, 104)]
)
def test_a_prompt_in_tokens_costs_what_they_do(prompt: object, tokens: int) -> None:
    body = {"model": "vllm", "prompt": prompt, "max_tokens": 10}
    request = CompletionsFormat().parse(orjson.dumps(body))
    usd = Estimates([VLLM], 300).usd(request, VLLM)
    assert usd == Decimal(tokens * 2 + 10 * 4) / 1_000_000
