// The page: figures of a time span, refreshed when requests are recorded.

import { StackedBars } from "./charts.js";
import { badge, byId, count, duration, element, percent, table } from "./elements.js";
import { listen } from "./live.js";
import { drawn, exact, pico, usd } from "./money.js";
import { Playground } from "./playground.js";
import { Requests } from "./requests.js";
import { read } from "./server.js";
import { WhatIf } from "./whatif.js";

const REFRESH_EVERY_MS = 30_000;
const AT_MOST_EVERY_MS = 2_000;

const requests = new Requests();
const whatIf = new WhatIf();
const playground = new Playground();
const spendChart = new StackedBars(byId("spend-chart"), dollars, (at) => spendTip(steps[at]));
const callsChart = new StackedBars(byId("calls-chart"), count, (at) => callsTip(steps[at]));
let span = "24h";
let steps = [];
let asked = 0;
let timer = null;
let hasFigures = false;

/** A tick of an axis, with as many digits as the others. */
function dollars(value, _, ticks) {
  return Math.max(...ticks) >= 1 ? `$${value.toFixed(2)}` : usd(BigInt(Math.round(value * 1e12)));
}

function stepsOf(figures) {
  const width = figures.step === "hour" ? 3_600_000 : 86_400_000;
  const nothing = () => ({ calls: 0, errors: 0, cost: null, unpriced: 0, prompt: 0, completion: 0 });
  const found = new Map();
  for (let at = Date.parse(figures.since); at < Date.parse(figures.until); at += width) found.set(at, { at, small: nothing(), large: nothing() });
  for (const row of figures.spend) {
    const sums = found.get(Date.parse(row.start))?.[row.tier];
    if (!sums) continue;
    sums.calls += row.calls;
    sums.errors += row.errors;
    sums.unpriced += row.unpriced;
    if (row.cost_usd !== null) sums.cost = (sums.cost ?? 0n) + pico(row.cost_usd);
  }
  return [...found.values()];
}

function stepName(step) {
  const hourly = steps.length > 1 && steps[1].at - steps[0].at < 86_400_000;
  const options = { month: "short", day: "numeric", ...(hourly ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : {}) };
  return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" }).format(step.at);
}

/** The cost of calls: unknown where none was priced, nothing where nothing was used. */
function costText(sums) {
  if (sums.cost === null) return sums.unpriced ? "unknown" : "$0";
  return usd(sums.cost) + (sums.unpriced ? ` + ${count(sums.unpriced)} of unknown cost` : "");
}

const spendTip = (step) => `${stepName(step)}\nsmall ${costText(step.small)}\nlarge ${costText(step.large)}`;
const callsTip = (step) => `${stepName(step)}\nsmall ${count(step.small.calls)}, large ${count(step.large.calls)}\nfailed ${count(step.small.errors + step.large.errors)}`;

function showTotals(figures) {
  const sum = (of) => figures.spend.reduce((all, row) => all + of(row), 0);
  const priced = figures.spend.filter((row) => row.cost_usd !== null);
  const spent = priced.reduce((all, row) => all + pico(row.cost_usd), 0n);
  const unpriced = sum((row) => row.unpriced);
  const amount = priced.length || !unpriced ? spent : null;
  tell("spend-total", usd(amount), exact(amount));
  tell("spend-note", unpriced ? `and ${count(unpriced)} calls of unknown cost` : "every call is priced");
  const { saving } = figures;
  const saved = pico(saving.saved_usd);
  tell("saved-total", usd(saved), exact(saved));
  const beside = saving.saved_usd === null ? "no scored request can be priced on both tiers" : `${Math.round((saving.saved_share ?? 0) * 100)} % of ${usd(pico(saving.all_large_usd))}, ${count(saving.compared)} scored requests`;
  const left = saving.unknown + saving.later_unknown;
  tell("saved-note", beside + (left ? `; ${count(left)} of unknown cost left out` : ""));
  const calls = sum((row) => row.calls);
  const small = sum((row) => (row.tier === "small" ? row.calls : 0));
  tell("share-total", `${percent(small, calls)} small`);
  byId("share-bar").style.setProperty("--share", calls ? small / calls : 0);
  tell("share-note", `${count(small)} small, ${count(calls - small)} large`);
  const errors = sum((row) => row.errors);
  tell("errors-total", count(errors));
  tell("errors-note", calls ? `${percent(errors, calls)} of ${count(calls)} calls` : "no calls");
  const energy = figures.spend.filter((row) => row.energy_wh !== null && row.energy_wh !== undefined);
  byId("energy-tile").hidden = !energy.length;
  const wattHours = energy.reduce((all, row) => all + row.energy_wh, 0);
  const grams = energy.reduce((all, row) => all + (row.co2_g ?? 0), 0);
  tell("energy-total", wattHours >= 1000 ? `${(wattHours / 1000).toFixed(2)} kWh` : `${Number(wattHours.toPrecision(3))} Wh`);
  tell("energy-note", grams ? `${Number(grams.toPrecision(3))} g CO₂, as far as known` : "as far as known");
}

function tell(id, text, title = null) {
  byId(id).textContent = text;
  if (title) byId(id).title = title;
}

function showCharts() {
  const seconds = steps.map((step) => step.at / 1000);
  spendChart.show(seconds, steps.map((step) => drawn(step.small.cost)), steps.map((step) => drawn(step.large.cost)));
  callsChart.show(seconds, steps.map((step) => step.small.calls), steps.map((step) => step.large.calls), steps.map((step) => step.small.errors + step.large.errors));
  const used = steps.filter((step) => step.small.calls + step.large.calls);
  byId("spend-chart").setAttribute("aria-label", `Spend by tier in ${count(used.length)} of ${count(steps.length)} steps; the table below has the figures.`);
  byId("calls-chart").setAttribute("aria-label", `Calls by tier, and failed ones; the table below has the figures.`);
  const columns = (name) => [["UTC", ""], ["Small", "number"], ["Large", "number"], ...(name ? [[name, "number"]] : [])];
  byId("spend-table").replaceChildren(table(columns(), used.map((step) => [stepName(step), costText(step.small), costText(step.large)]), "Spend by tier"));
  byId("calls-table").replaceChildren(table(columns("Failed"), used.map((step) => [stepName(step), count(step.small.calls), count(step.large.calls), count(step.small.errors + step.large.errors)]), "Calls by tier, and failed ones"));
}

function showLatency(rows) {
  const slowest = Math.max(...rows.map((row) => row.p99_ms ?? 0), 1);
  const range = (row) => {
    const made = element("span", { class: `range ${row.tier}`, "aria-hidden": "true" }, element("i"));
    made.style.setProperty("--from", (row.p50_ms ?? 0) / slowest);
    made.style.setProperty("--to", (row.p99_ms ?? 0) / slowest);
    return made;
  };
  const columns = [["Deployment", ""], ["p50", "number"], ["p99", "number"], ["First token p50 / p99", "number wide"], ["Calls", "number"], ["Failed", "number"]];
  const cells = rows.map((row) => [
    element("span", {}, badge(row.tier), ` ${row.deployment}`, range(row)),
    duration(row.p50_ms),
    duration(row.p99_ms),
    `${duration(row.ttft_p50_ms)} / ${duration(row.ttft_p99_ms)}`,
    count(row.calls),
    element("span", {}, count(row.errors), row.errors ? element("span", { class: "middle" }, ` (${percent(row.errors, row.calls)})`) : ""),
  ]);
  byId("latency").replaceChildren(rows.length ? table(columns, cells, "Latency by deployment") : element("p", { class: "quiet" }, "No calls in this time."));
}

function showBudgets(budgets) {
  if (!budgets?.length) {
    byId("budgets").replaceChildren(element("p", { class: "quiet" }, "No key has a budget."));
    return;
  }
  const cards = budgets.map((one) => {
    const [spent, reserved, whole] = [pico(one.spent_usd), pico(one.reserved_usd), pico(one.budget_usd)];
    const meter = element("meter", { min: 0, max: 1, high: 0.8, optimum: 0, "aria-label": `Spent of ${one.name}’s budget` });
    meter.value = whole ? Math.min(1, drawn(spent) / drawn(whole)) : 1;
    const resets = one.resets_at ? `, starts anew ${new Date(one.resets_at).toLocaleString()}` : "";
    return element(
      "li",
      {},
      element("p", { class: "head" }, element("strong", {}, one.name), element("span", { class: `state ${one.state}` }, one.state)),
      meter,
      element("p", { class: "quiet", title: exact(spent) }, `${usd(spent)} of ${usd(whole)}${one.period === "total" ? "" : ` a ${one.period}`} spent${reserved ? `, ${usd(reserved)} reserved` : ""}; over it: ${one.over}${resets}`),
    );
  });
  byId("budgets").replaceChildren(element("ul", { class: "budgets" }, cards));
}

async function refresh() {
  asked = Date.now();
  clearTimeout(timer);
  timer = setTimeout(refresh, REFRESH_EVERY_MS);
  if (document.hidden) return;
  const wanted = span;
  try {
    const figures = await read(`figures?span=${wanted}`);
    if (wanted !== span) return;
    byId("problem").hidden = true;
    show(figures);
  } catch (error) {
    byId("problem").textContent = `The figures can’t be read: ${error.message}`;
    byId("problem").hidden = false;
  }
}

function show(figures) {
  steps = stepsOf(figures);
  byId("version").textContent = figures.version;
  hasFigures = figures.spend.length > 0;
  byId("figures").hidden = !hasFigures && !byId("empty").hidden;
  showTotals(figures);
  showCharts();
  showLatency(figures.latency);
  showBudgets(figures.budgets);
  whatIf.show(figures);
  playground.show(figures);
  byId("span-note").textContent = `Whole ${figures.step}s in UTC, from ${new Date(figures.since).toUTCString().slice(0, 22)} on.`;
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(refresh, Math.max(0, asked + AT_MOST_EVERY_MS - Date.now()));
}

function news(latest) {
  byId("latest").hidden = !latest.length;
  byId("empty").hidden = latest.length > 0;
  byId("figures").hidden ||= !hasFigures && !latest.length;
  requests.show(latest);
  soon();
}

function followTheme() {
  const button = byId("theme");
  const root = document.documentElement;
  const name = () => {
    button.textContent = `Theme: ${root.dataset.theme ?? "auto"}`;
  };
  const redraw = () => [spendChart, callsChart, whatIf].forEach((one) => (one === whatIf ? one.redraw() : one.draw()));
  button.addEventListener("click", () => {
    const next = { auto: "light", light: "dark", dark: "auto" }[root.dataset.theme ?? "auto"];
    if (next === "auto") {
      delete root.dataset.theme;
      localStorage.removeItem("slm-gateway-theme");
    } else {
      root.dataset.theme = next;
      localStorage.setItem("slm-gateway-theme", next);
    }
    name();
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  name();
}

function inviteFirst() {
  const url = new URL("../../v1/chat/completions", import.meta.url);
  const body = JSON.stringify({ model: "auto", messages: [{ role: "user", content: "What is the capital of France?" }] });
  const command = `curl ${url} \\\n  -H 'content-type: application/json' \\\n  -H "authorization: Bearer $GATEWAY_KEY" \\\n  -d '${body}'`;
  byId("first-curl").textContent = command;
  byId("copy-curl").addEventListener("click", async (event) => {
    const button = event.currentTarget;
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(byId("first-curl"));
      button.textContent = "Selected: copy it";
    }
  });
}

for (const radio of document.querySelectorAll("input[name=span]")) {
  radio.addEventListener("change", () => {
    span = radio.value;
    refresh();
  });
}
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) soon();
});
span = document.querySelector("input[name=span]:checked").value;
followTheme();
inviteFirst();
listen(news);
refresh();
