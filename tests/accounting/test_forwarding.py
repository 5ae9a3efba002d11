from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gateway.accounting.forwarding import ForwardingMeter, ModelPrices
from gateway.accounting.pricing import cost_of
from gateway.core.deployment import Deployment, Tier
from gateway.core.entry import LedgerEntry
from gateway.core.errors import UpstreamError
from gateway.core.forwarding import ForwardedRequest, Piece
from gateway.core.price import UNPRICED, Price
from gateway.core.usage import Usage

OWN = Price("config:gpt", Decimal(1), Decimal(2))
SPOKEN = Price("test:tts", usd_per_million_characters=Decimal(15))
GPT = Deployment("gpt", Tier.LARGE, "openai", "gpt-4o", ("four",), price=OWN)
LOCAL = Deployment("llama", Tier.LARGE, "openai", "llama")
PRICES = ModelPrices({"gpt": "https://api.openai.com/v1", "llama": "http://127.0.0.1:8000/v1"})


@pytest.mark.parametrize("model", ["gpt", "gpt-4o", "four"])
async def test_a_deployment_has_its_own_price(model: str) -> None:
    assert await PRICES.price(model, GPT) is OWN


async def test_another_model_has_the_published_price_of_the_same_provider() -> None:
    for _ in range(2):
        price = await PRICES.price("whisper-1", GPT)
        assert price is not None
        assert price.price_id == "genai-prices:openai/whisper-1"


@pytest.mark.parametrize(
    ("model", "deployment"), [("", GPT), ("no-such-model", GPT), ("whisper-1", LOCAL)]
)
async def test_what_nobody_has_published_has_no_price(model: str, deployment: Deployment) -> None:
    assert await PRICES.price(model, deployment) is None


async def test_names_that_clients_make_up_are_not_kept_for_ever() -> None:
    prices = ModelPrices({"llama": "http://127.0.0.1:8000/v1"})
    for number in range(600):
        assert await prices.price(f"made-up-{number}", LOCAL) is None
    assert len(prices._known) <= 256


def entry_of(price: Price | None, *pieces: Piece, ends: bool = True) -> LedgerEntry:
    entry = LedgerEntry(
        request_id="req_1",
        attempt=1,
        ts=datetime.now(UTC),
        endpoint="/v1/audio/speech",
        model_requested="tts-1",
        deployment="gpt",
        tier="large",
        reason="passthrough",
        router_version="r",
        stream=False,
    )
    request = ForwardedRequest("POST", "/audio/speech", "/v1/audio/speech", characters=2_000)
    meter = ForwardingMeter(request, price, entry, cost_of)
    for piece in pieces:
        meter.observe(piece)
    if ends:
        meter.end("ok", 200)
    meter.settle()
    return entry


def test_a_spoken_text_costs_its_characters_where_the_model_is_billed_so() -> None:
    entry = entry_of(SPOKEN, Piece(b"sound", 0))
    assert entry.cost.usd == Decimal("0.03")
    assert entry.usage == Usage(0, 0, characters=2_000, source="counted")
    assert entry.ttft_ms is not None
    assert entry_of(SPOKEN, Piece(b"sound", 0), ends=False).cost.usd == Decimal("0.03")


@pytest.mark.parametrize("price", [None, OWN])
def test_what_nobody_has_counted_stays_unknown(price: Price | None) -> None:
    entry = entry_of(price, Piece(b"sound", 0))
    assert (entry.usage, entry.cost) == (None, UNPRICED)


def test_reported_usage_goes_before() -> None:
    entry = entry_of(OWN, Piece(b"", 0), Piece(b"", 0, Usage(10, 20), model_served="m"))
    assert entry.cost.usd == Decimal("0.00005")
    assert entry.model_served == "m"


def test_an_attempt_that_failed_costs_nothing_known() -> None:
    request = ForwardedRequest("POST", "/audio/speech", "/v1/audio/speech", characters=9)
    entry = entry_of(None)
    meter = ForwardingMeter(request, SPOKEN, entry, cost_of)
    entry.outcome = "ok"
    meter.fail(UpstreamError("no", status=400))
    meter.settle()
    assert (entry.outcome, entry.status, entry.cost) == ("upstream_error", 400, UNPRICED)
