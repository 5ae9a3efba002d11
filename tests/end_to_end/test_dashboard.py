"""The dashboard in a real Chromium, over a gateway with the real small model."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from playwright.async_api import Browser, Error, Page, expect

from tests.chromium import running_chromium
from tests.end_to_end.conftest import CLIENT_KEY, SECRETS, config_for
from tests.gateway_process import RunningGateway, run_cli, running_gateway
from tests.npm import packages
from tests.vendor.behaviour import ANSWER
from tests.vendor.fixture import RunningVendor

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
LOOKS = [(size, scheme) for size in (DESKTOP, PHONE) for scheme in ("light", "dark")]
PROMPTS = [
    "What is the capital of France?",
    "Hello there",
    "Write a haiku about rain.",
    "Prove that there are infinitely many primes congruent to 3 modulo 4.",
    "Derive the closed form of the Fibonacci numbers and prove it by induction.",
    "Explain how Raft elects a leader when the network is split, with a proof of its safety.",
]


@pytest.fixture(scope="module")
def shown(
    vendor_server: RunningVendor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway of its own, with an empty ledger and prices by the token."""
    config = config_for(vendor_server)
    small, large = config["deployments"]
    small["price"] = {"input": 0.15, "output": 0.6}
    large["price"] = {"input": 2.5, "output": 10}
    del config["routing"]["policies"]["doubting"], config["routing"]["policies"]["trusting"]
    with running_gateway(tmp_path_factory.mktemp("dashboard"), config, env=SECRETS) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def axe(pytestconfig: pytest.Config) -> str:
    folder = packages(
        pytestconfig, "dashboard", Path(__file__).parent / "dashboard" / "package.json"
    )
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_chromium() as browser:
        yield browser


@pytest.fixture
async def client(shown: RunningGateway, vendor: RunningVendor) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=shown.base_url, api_key=CLIENT_KEY, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
async def filled(shown: RunningGateway, client: AsyncOpenAI) -> RunningGateway:
    """A ledger with requests of many scores, each of a conversation of its own."""
    if not shown.ledger_rows():
        for prompt in PROMPTS:
            await ask(client, prompt)
        shown.ledger_rows(len(PROMPTS))
    return shown


async def ask(client: AsyncOpenAI, prompt: str) -> None:
    await client.chat.completions.create(
        model="auto", max_tokens=4, messages=[{"role": "user", "content": prompt}]
    )


@asynccontextmanager
async def opened(
    browser: Browser, gateway: RunningGateway, size: Any = DESKTOP, scheme: Any = "light"
) -> AsyncIterator[Page]:
    """The dashboard, live; an error in the page or on its console fails, as does another host."""
    context = await browser.new_context(
        viewport=size,
        color_scheme=scheme,
        reduced_motion="reduce",
        http_credentials={"username": "anybody", "password": CLIENT_KEY},
    )
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on(
        "request",
        lambda asked: None if asked.url.startswith(gateway.url) else problems.append(asked.url),
    )
    try:
        await page.goto(f"{gateway.url}/dashboard")
        await expect(page.locator("#live")).to_have_attribute("data-state", "open")
        await expect(page.locator("#version")).not_to_be_empty()
        yield page
    finally:
        await context.close()
    # Nothing else may go wrong once the gateway has ended.
    ended = gateway.process.poll() is not None
    assert [one for one in problems if not (ended and "ERR_CONNECTION_REFUSED" in one)] == []


async def violations(page: Page, axe: str) -> list[Any]:
    """What axe finds, and whatever is wider than the screen."""
    await page.evaluate(axe)
    found: dict[str, Any] = await page.evaluate("axe.run({resultTypes: ['violations']})")
    too_wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
    seen = [(one["id"], [node["target"] for node in one["nodes"]]) for one in found["violations"]]
    return [*seen, *(["wider than the screen"] if too_wide else [])]


@pytest.mark.parametrize("password", [None, "sk-wrong"])
async def test_without_a_key_a_browser_shows_nothing(
    browser: Browser, shown: RunningGateway, password: str | None
) -> None:
    context = await browser.new_context()
    if password is not None:
        given = f"anybody:{password}".encode()
        basic = f"Basic {base64.b64encode(given).decode()}"
        await context.set_extra_http_headers({"authorization": basic})
    page = await context.new_page()
    try:
        answer = await page.goto(f"{shown.url}/dashboard")
    except Error as error:
        # Without anybody to ask, the browser gives up.
        assert "ERR_INVALID_AUTH_CREDENTIALS" in error.message
    else:
        assert answer is not None
        assert answer.status == 401
    assert await page.locator("#live").count() == 0
    await context.close()


@pytest.mark.parametrize(("size", "scheme"), [LOOKS[0], LOOKS[3]])
async def test_an_empty_ledger_invites_a_first_request(
    browser: Browser, shown: RunningGateway, axe: str, size: Any, scheme: str
) -> None:
    async with opened(browser, shown, size, scheme) as page:
        await expect(page.locator("#first-curl")).to_contain_text(f"{shown.base_url}/chat")
        await expect(page.locator("#figures")).to_be_hidden()
        assert await violations(page, axe) == []


async def test_a_request_appears_when_it_is_recorded_and_explains_itself(
    browser: Browser, filled: RunningGateway, client: AsyncOpenAI
) -> None:
    async with opened(browser, filled) as page:
        rows = page.locator("#requests tr")
        seen = await rows.count()
        await ask(client, "Prove that the square root of 2 is irrational, in two ways.")
        await expect(rows).to_have_count(seen + 1)
        newest = filled.ledger_rows(seen + 1)[0]
        row = page.locator(f"#requests tr[data-request={newest['request_id']}]")
        await row.get_by_role("button").focus()
        await page.keyboard.press("Enter")
        dialog = page.locator("#why")
        await expect(dialog).to_be_visible()
        for told in (newest["request_id"], f"{newest['score']:.4f}", newest["reason"]):
            await expect(dialog).to_contain_text(told)
        await expect(dialog).to_contain_text(f"${newest['cost_usd']} (computed)")
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect(row.get_by_role("button")).to_be_focused()
        spent = sum((Decimal(one["cost_usd"]) for one in filled.ledger_rows()), Decimal(0))
        total = page.locator("#spend-total")
        await expect(total).to_have_attribute("title", f"${spent.normalize():f}")


async def test_another_threshold_means_what_replay_says(
    browser: Browser, filled: RunningGateway
) -> None:
    grid = "0:1:0.1"
    replayed = json.loads(
        run_cli("replay", "--config", filled.config, "--thresholds", grid, "--format", "json")
    )
    assert {one["unknown"] for one in replayed} == {0}
    assert len({one["cost_usd"] for one in replayed}) > 2
    async with opened(browser, filled) as page:
        slider = page.locator("#threshold")
        for said in replayed:
            await slider.fill(f"{said['threshold']:.2f}")
            facts = page.locator("#whatif-facts")
            would = facts.locator("div", has_text="Would have cost").locator("data")
            await expect(would).to_have_attribute("value", f"${said['cost_usd']}")
            share = facts.locator("div", has_text="To the large tier").locator("dd")
            await expect(share).to_contain_text(f"{said['large']} (")


async def test_the_line_in_the_histogram_can_be_dragged(
    browser: Browser, filled: RunningGateway
) -> None:
    async with opened(browser, filled) as page:
        slider = page.locator("#threshold")
        await expect(slider).to_have_value("0.5")
        plot = page.locator("#score-chart .u-over")
        await plot.scroll_into_view_if_needed()
        box = await plot.bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        await page.mouse.move(box["x"] + box["width"] * 0.5, middle)
        await page.mouse.down()
        await page.mouse.move(box["x"] + box["width"] * 0.25, middle, steps=4)
        await page.mouse.up()
        await page.mouse.move(box["x"] + box["width"] * 0.9, middle)
        await expect(slider).to_have_value("0.25")
        await page.locator("#threshold-live").click()
        await expect(slider).to_have_value("0.5")
        await slider.press("ArrowRight")
        await expect(page.locator("#threshold-value")).to_have_text("0.51")


async def test_the_playground_routes_and_sends(browser: Browser, filled: RunningGateway) -> None:
    async with opened(browser, filled) as page:
        await page.locator("#prompt").fill(PROMPTS[3])
        await page.get_by_role("button", name="Only route").click()
        outcome = page.locator("#outcome")
        await expect(outcome).to_contain_text("Would go to large gpt-4o: above threshold")
        await expect(page.locator("#explanation tbody tr")).not_to_have_count(0)
        await page.get_by_role("button", name="Send", exact=True).click()
        await expect(page.locator("#answer")).to_have_text(ANSWER)
        await expect(outcome).to_contain_text("gpt-4o answered for $0.0")
        newest = filled.ledger_rows(1, stream=True)[0]
        assert newest["tags"] == {"from": "dashboard"}
        await expect(page.locator("#explanation")).to_contain_text(f"${newest['cost_usd']} (")
        await expect(page.locator(f"tr[data-request={newest['request_id']}]")).to_be_visible()
        await page.locator("#own-threshold").fill("1")
        await page.locator("#max-tokens").fill("8")
        await page.get_by_role("button", name="Send", exact=True).click()
        await expect(outcome).to_contain_text("smollm2 answered for $0.0", timeout=20_000)
        await expect(page.locator("#answer")).not_to_be_empty()
        await page.locator("#model").select_option("auto:cheap")
        await page.get_by_role("button", name="Only route").click()
        await expect(outcome).to_contain_text("Would go to")
        kept = await page.evaluate("JSON.stringify([{...localStorage}, document.cookie, location])")
        assert CLIENT_KEY not in kept
    assert CLIENT_KEY not in filled.log.read_text()


async def test_a_virtual_key_opens_nothing_and_its_budget_is_shown(
    browser: Browser, filled: RunningGateway
) -> None:
    options = ("--name", "search", "--budget", "5/day", "--format", "json")
    [made] = json.loads(run_cli("keys", "create", "--config", filled.config, *options))
    async with httpx.AsyncClient(auth=("anybody", made["key"])) as http:
        refused = await http.get(f"{filled.url}/dashboard")
    assert refused.status_code == 401
    assert "a virtual key doesn't open it" in refused.json()["error"]["message"]
    async with opened(browser, filled) as page:
        await expect(page.locator("#budgets")).to_contain_text("search")
        await expect(page.locator("#budgets")).to_contain_text("$0 of $5.00 a day spent")


@pytest.mark.parametrize(
    ("path", "status"),
    [("figures?span=1y", 400), ("requests/none", 200), ("none", 404), ("static/none.js", 404)],
)
def test_what_it_cant_answer_is_told_in_the_envelope(
    filled: RunningGateway, path: str, status: int
) -> None:
    authorized = {"authorization": f"Bearer {CLIENT_KEY}"}
    answer = httpx.get(f"{filled.url}/dashboard/{path}", headers=authorized)
    assert answer.status_code == status
    if status >= 400:
        assert answer.json()["error"]["type"] == "invalid_request_error"
    foreign = {**authorized, "sec-fetch-site": "cross-site"}
    assert httpx.get(f"{filled.url}/dashboard/{path}", headers=foreign).status_code == 403


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
async def test_nothing_that_axe_minds(
    browser: Browser, filled: RunningGateway, axe: str, size: Any, scheme: str
) -> None:
    async with opened(browser, filled, size, scheme) as page:
        await expect(page.locator("#requests tr")).not_to_have_count(0)
        await page.get_by_role("button", name="Only route").click()
        await expect(page.locator("#explanation")).not_to_be_empty()
        for table in await page.locator("details.table").all():
            await table.locator("summary").click()
        assert await violations(page, axe) == []
        await page.locator("#requests tr").first.click()
        await expect(page.locator("#why-body")).not_to_be_empty()
        assert await violations(page, axe) == []


async def test_an_open_page_keeps_no_gateway_from_ending(
    browser: Browser, shown: RunningGateway
) -> None:
    async with opened(browser, shown) as page:
        await page.get_by_role("button", name="Theme").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", "light")
        assert shown.stop(timeout_s=15) == 0
        await expect(page.locator("#live")).to_have_attribute("data-state", "lost")
        await page.close()
