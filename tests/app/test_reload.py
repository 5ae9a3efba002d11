"""What a reload keeps, and what it replaces, in one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from gateway.api.parse import parse_chat
from gateway.app.compose import compose
from gateway.app.policies import configured_scorer
from gateway.app.reload import LiveGateway
from gateway.app.source import ConfigSource
from gateway.core.interfaces import Backend
from gateway.core.request import Caller, ChatRequest
from gateway.routing.classifier import load_artefact, pack_artefact
from gateway.settings import CalibratedPolicy, ConfigError, Environment, calibrations_text
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

CALLER = Caller(request_id="r")
PATIENCE_S = 20
SPENDING = {"target": {"usd_per_day": 5}}
SHARING = {"target": {"large_share": 0.3}}


def asked(model: str, *, stream: bool = False) -> ChatRequest:
    messages = [{"role": "user", "content": "Hello!"}]
    return parse_chat(orjson.dumps({"model": model, "stream": stream, "messages": messages}))


class Reloading:
    """A live gateway over a file that the test changes."""

    def __init__(self, vendor: RunningVendor, folder: Path) -> None:
        self._vendor = vendor
        self._path = folder / "gateway.yaml"
        self._ledger = {"url": f"sqlite:///{folder / 'ledger.db'}", "flush_interval_s": 0.02}
        self.write(("small", "big"))
        source = ConfigSource(self._path)
        self.live = LiveGateway(source, source.load(), Environment({}), {})

    def write(
        self, names: tuple[str, ...], *, usd: int = 1, timeout_s: float = 60, **routing: Any
    ) -> None:
        """`usd` per million input tokens; the first name is the small tier's."""
        deployments = [
            {
                "name": name,
                "tier": "large" if number else "small",
                "backend": "openai",
                "model": f"m{number}",  # their backends differ
                "base_url": self._vendor.base_url,
                "timeout_s": timeout_s,
                "price": {"input": usd, "output": 0},
            }
            for number, name in enumerate(names)
        ]
        document = {"deployments": deployments, "routing": routing, "ledger": self._ledger}
        self._path.write_text(yaml.safe_dump(document))

    async def reload(self) -> None:
        reloads = self.live.reloads
        self.live.reload_now()
        await until(lambda: self.live.reloads > reloads)

    async def refused(self) -> str:
        self.live.reload_now()
        await until(lambda: self.live.refusal is not None)
        return str(self.live.refusal)

    async def change(self, *names: str, **options: Any) -> None:
        self.write(names or ("small", "big"), **options)
        await self.reload()

    @property
    def backends(self) -> dict[str, Backend]:
        return dict(self.live.gateway.backends)

    async def answer(self, model: str) -> Decimal:
        """The cost of one answer."""
        reply = await self.live.pipeline.answer(asked(model), CALLER)
        await reply.rest.aclose()
        assert reply.entry.cost.usd is not None
        return reply.entry.cost.usd


async def until(holds: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture
async def reloading(vendor: RunningVendor, tmp_path: Path) -> AsyncIterator[Reloading]:
    reloading = Reloading(vendor, tmp_path)
    await reloading.live.start()
    yield reloading
    await reloading.live.stop()


async def test_a_backend_stays_whatever_its_deployment_is_called(reloading: Reloading) -> None:
    before = reloading.backends
    await reloading.change("little", "big", usd=2, threshold=0.1)
    assert reloading.backends["big"] is before["big"]
    assert reloading.backends["little"] is before["small"]
    assert [
        one.price and one.price.usd_per_million_input for one in reloading.live.gateway.deployments
    ] == [2, 2]


async def test_a_machine_of_several_calls_stays_one(reloading: Reloading) -> None:
    before = reloading.live.pipeline.machines
    await reloading.change("little", "big", usd=2)
    after = reloading.live.pipeline.machines
    assert after["little"] is before["small"]
    assert after["big"] is before["big"]
    await reloading.change("little", "big", timeout_s=1)
    assert reloading.live.pipeline.machines["big"] is not before["big"]


async def test_a_dropped_backend_closes_after_its_last_call(
    reloading: Reloading, vendor: RunningVendor
) -> None:
    vendor.always(Behaviour(chunks=3, chunk_delay_s=0.1))
    old = reloading.backends
    began_on = reloading.live.pipeline
    reply = await began_on.answer(asked("big", stream=True), CALLER)
    async with aclosing(reply.rest) as rest:
        await reloading.change(timeout_s=7)
        assert reloading.backends["big"] is not old["big"]
        reloading.live.reload_now()
        await until(lambda: reloading.live.reloads >= 2)
        assert began_on.in_flight == 1
        assert [old[name].not_ready() for name in old] == [None, None]
        assert [item async for item in rest]
    assert began_on.in_flight == 0
    await until(lambda: all(old[name].not_ready() == "not started" for name in old))
    assert reply.entry.outcome == "ok"
    assert await reloading.answer("big")


async def test_what_was_learnt_lasts(reloading: Reloading) -> None:
    await reloading.change(policies={"balanced": SPENDING, "shared": SHARING})
    live = reloading.live
    for _ in range(3):
        await reloading.answer("auto")
    gateway = live.gateway
    sources = {name: policy.source for name, policy in gateway.router.policies.items()}
    gateway.sessions.answered((None, "s"), "big")
    tokens = gateway.estimates._output_tokens["small"]
    assert tokens != 256
    await reloading.change(policies={"balanced": SPENDING, "shared": SHARING, "new": {}}, usd=3)
    after = live.gateway
    assert after is not gateway
    assert after.ledger is gateway.ledger
    assert after.sessions.last((None, "s")) == "big"
    assert after.estimates._output_tokens["small"] == tokens
    assert {name: after.router.policies[name].source for name in sources} == sources


async def test_what_is_learnt_while_a_change_is_prepared_lasts(reloading: Reloading) -> None:
    live = reloading.live
    previous = live.gateway
    after = compose(previous.settings, Environment({}), {}, previous)
    await reloading.answer("small")
    after.learn_after(previous)
    await reloading.answer("small")
    once = previous.estimates._output_tokens["small"]
    assert after.estimates._output_tokens["small"] < once < 256


async def test_a_new_target_knows_what_was_spent_and_what_is_still_in_flight(
    reloading: Reloading, vendor: RunningVendor
) -> None:
    await reloading.change(policies={"balanced": SPENDING})
    spent = await reloading.answer("auto")
    vendor.always(Behaviour(chunks=3))
    reply = await reloading.live.pipeline.answer(asked("auto", stream=True), Caller("r2"))
    await reloading.change(policies={"balanced": {"target": {"usd_per_day": 7}}})
    target: Any = reloading.live.gateway.router.policies["balanced"].source
    assert target._spent == spent
    assert [item async for item in reply.rest]
    assert reply.entry.cost.usd
    assert target._spent == spent + reply.entry.cost.usd


@pytest.mark.parametrize("steps", range(6))
async def test_an_end_at_the_moment_of_a_reload(
    vendor: RunningVendor, tmp_path: Path, steps: int
) -> None:
    reloading = Reloading(vendor, tmp_path)
    await reloading.live.start()
    await asyncio.sleep(0.3)  # it waits for the next look
    reloading.live.reload_now()
    for _ in range(steps):
        await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_S):
        await reloading.live.stop()


async def test_the_files_that_it_names_are_watched(reloading: Reloading, tmp_path: Path) -> None:
    live = reloading.live
    classifier = tmp_path / "mine.json.gz"
    calibration = tmp_path / "calibration.yaml"
    routing: dict[str, Any] = {
        "classifier": str(classifier),
        "calibration": str(calibration),
        "policies": {"balanced": SHARING},
    }
    reloading.write(("small", "big"), **routing)
    assert "routing.classifier" in await reloading.refused()
    artefact, shipped = load_artefact()
    classifier.write_bytes(pack_artefact({**artefact, "bias": [0.1, 0.2]}))
    version = configured_scorer(classifier).version
    assert version != shipped

    def calibrate(threshold: float) -> None:
        found = CalibratedPolicy(
            target="large_share 0.3",
            threshold=threshold,
            solved_on="ledger",
            samples=9,
            value=0.3,
            low=0.2,
            high=0.4,
            router=version,
            at="2026-01-01T00:00:00+00:00",
        )
        calibration.write_text(calibrations_text({"balanced": found}))

    for threshold in (0.25, 0.75):
        calibrate(threshold)  # nobody asks for a reload
        await until(lambda: live.gateway.router.policies["balanced"].threshold == threshold)  # noqa: B023
    assert live.gateway.router.version == version
    assert live.refusal is None


async def test_a_refusal_changes_nothing_and_gives_no_value_away(
    reloading: Reloading, tmp_path: Path
) -> None:
    gateway = reloading.live.gateway
    for text, where in {
        "routing: {threshold: sk-secret}": "routing.threshold",
        "a: [sk-secret": "not valid YAML",
        "deployments: [{name: sk-secret}]": "deployments.0.tier",
        "": "it is empty",  # somebody is just writing it
    }.items():
        (tmp_path / "gateway.yaml").write_text(text)
        reloading.live.refusal = None
        told = await reloading.refused()
        assert where in told
        assert "sk-secret" not in told
        assert reloading.live.notes() == {"configuration": told}
        assert reloading.live.gateway is gateway
    await reloading.change(threshold=0.1)
    assert reloading.live.notes() == {}


async def test_what_changed_between_loading_and_starting_is_seen(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    reloading = Reloading(vendor, tmp_path)
    reloading.write(("small", "big"), threshold=0.125)
    source = ConfigSource(tmp_path / "gateway.yaml")
    stale = source.load().model_copy(update={"routing": reloading.live.gateway.settings.routing})
    live = LiveGateway(source, stale, Environment({}), {})
    await live.start()
    try:
        await until(lambda: live.gateway.settings.routing.threshold == 0.125)
    finally:
        await live.stop()


def test_a_first_configuration_that_does_not_fit_is_refused(
    vendor: RunningVendor, tmp_path: Path
) -> None:
    reloading = Reloading(vendor, tmp_path)
    reloading.write(("small", "big"), classifier=str(tmp_path / "absent"))
    source = ConfigSource(tmp_path / "gateway.yaml")
    with pytest.raises(ConfigError, match=r"routing\.classifier"):
        LiveGateway(source, source.load(), Environment({}), {})
