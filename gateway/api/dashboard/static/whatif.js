// The histogram of scores, and what a policy's requests would cost at another threshold.

import { ScoreHistogram } from "./charts.js";
import { byId, count, element, facts, percent, table } from "./elements.js";
import { exact, usd } from "./money.js";

const nothing = () => ({ pico: 0n, unknown: 0 });

function add(sum, amount) {
  sum.pico += BigInt(amount.pico);
  sum.unknown += amount.unknown;
}

/**
 * Sums of a policy's groups at a threshold of whole hundredths; costs in pico-USD. `difference` is
 * that of the requests that move, as far as both of their costs are known.
 */
export function projected(groups, threshold) {
  const cut = Math.round(threshold * 100);
  const sum = { requests: 0, large: 0, toLarge: 0, toSmall: 0, cost: nothing(), logged: nothing(), difference: nothing() };
  for (const group of groups) {
    const goesLarge = group.bin >= cut;
    const moves = goesLarge !== (group.went === "large");
    sum.requests += group.requests;
    if (goesLarge) sum.large += group.requests;
    if (moves) sum[goesLarge ? "toLarge" : "toSmall"] += group.requests;
    add(sum.cost, moves ? group.moved : group.kept);
    add(sum.logged, group.kept);
    if (!moves) continue;
    if (group.kept.unknown || group.moved.unknown) sum.difference.unknown += group.requests;
    else sum.difference.pico += BigInt(group.moved.pico) - BigInt(group.kept.pico);
  }
  return sum;
}

/** The requests of each hundredth by where they went. */
function byBin(groups) {
  const bins = Array.from({ length: 100 }, () => ({ small: null, large: null, requests: 0 }));
  for (const group of groups) {
    bins[group.bin][group.went] = group;
    bins[group.bin].requests += group.requests;
  }
  return bins;
}

/** An amount that leaves `unknown` of the requests out; null where it leaves out all. */
const known = (amount, requests) => (amount.unknown && amount.unknown >= requests ? null : amount.pico);

function amountText(amount, requests) {
  const pico = known(amount, requests);
  const left = amount.unknown && pico !== null ? ` + ${count(amount.unknown)} of unknown cost` : "";
  return element("data", { value: pico === null ? "" : exact(pico), title: exact(pico) }, usd(pico) + left);
}

export class WhatIf {
  constructor() {
    this.policies = [];
    this.name = null;
    this.dragged = null; // null: at the live threshold
    this.slider = byId("threshold");
    this.chart = new ScoreHistogram(byId("score-chart"), (value) => this.moveTo(value), (bin) => this.tip(bin));
    this.slider.addEventListener("input", () => this.moveTo(Number(this.slider.value)));
    byId("threshold-live").addEventListener("click", () => this.moveTo(null));
    byId("whatif-policy").addEventListener("change", (event) => {
      this.name = event.target.value;
      this.dragged = null;
      this.render();
    });
  }

  show(figures) {
    this.policies = figures.policies;
    this.prices = figures.prices;
    const busiest = [...this.policies].sort((a, b) => total(b) - total(a))[0];
    const usual = this.policies.find((one) => one.name === figures.default_policy);
    if (!this.policies.some((one) => one.name === this.name)) this.name = (usual && total(usual) ? usual : busiest)?.name;
    const select = byId("whatif-policy");
    const names = this.policies.map((one) => `${one.name} (${count(total(one))})`);
    if (select.dataset.names !== names.join()) {
      select.dataset.names = names.join();
      select.replaceChildren(...this.policies.map((one, at) => element("option", { value: one.name }, names[at])));
    }
    select.value = this.name;
    this.render();
  }

  moveTo(threshold) {
    this.dragged = threshold;
    this.render();
  }

  get policy() {
    return this.policies.find((one) => one.name === this.name);
  }

  get threshold() {
    return this.dragged ?? Math.round((this.policy?.threshold ?? 0.5) * 100) / 100;
  }

  redraw() {
    this.chart.draw();
  }

  render() {
    const { policy, threshold } = this;
    if (!policy) return;
    const bins = byBin(policy.groups);
    this.chart.show(bins.map((one) => one.requests), threshold, policy.threshold);
    const now = projected(policy.groups, threshold);
    const share = percent(now.large, now.requests);
    this.slider.value = threshold;
    byId("threshold-value").textContent = threshold.toFixed(2);
    this.slider.setAttribute("aria-valuetext", `${threshold.toFixed(2)}: ${share} to the large tier, ${usd(known(now.cost, now.requests))}`);
    byId("score-chart").setAttribute("aria-label", `Histogram of ${count(now.requests)} requests by score; at ${threshold.toFixed(2)} ${share} go to the large tier.`);
    this.tell(policy, now, share);
    this.tabulate(bins);
  }

  tell(policy, now, share) {
    const moved = now.toLarge + now.toSmall;
    const change = known(now.difference, moved);
    const sign = change > 0n ? "+" : "";
    const difference = element("data", { value: change === null ? "" : exact(change), title: exact(change) }, change === null ? "unknown" : sign + usd(change));
    byId("whatif-facts").replaceChildren(
      ...facts([
        ["Requests scored", count(now.requests)],
        ["To the large tier", `${count(now.large)} (${share})`],
        ["Would move to large", count(now.toLarge)],
        ["Would move to small", count(now.toSmall)],
        ["Did cost", amountText(now.logged, now.requests)],
        ["Would have cost", amountText(now.cost, now.requests)],
        ["Difference", difference],
        ["of unknown difference", now.difference.unknown && change !== null ? `${count(now.difference.unknown)} requests` : null],
      ]),
    );
    const live = policy.threshold === null ? "This policy isn’t configured any more." : `Live: ${Number(policy.threshold.toFixed(4))} (${policy.origin}).`;
    const prices = ["small", "large"].map((tier) => `${tier}: ${this.prices[tier] ?? "no price known"}`).join(", ");
    byId("whatif-note").textContent = `${live} Requests that move cost their logged tokens at today’s prices (${prices}). To try a threshold for one request, send the model “auto@${this.threshold.toFixed(2)}”; to keep it, set routing.policies.${policy.name}.threshold.`;
  }

  tip(bin) {
    const { small, large } = byBin(this.policy?.groups ?? [])[bin];
    return `score ${range(bin)}\nwent small ${count(small?.requests ?? 0)}\nwent large ${count(large?.requests ?? 0)}`;
  }

  tabulate(bins) {
    const rows = [];
    bins.forEach((one, bin) => {
      if (!one.requests) return;
      const cost = (tier) => {
        const sum = nothing();
        for (const went of ["small", "large"]) if (one[went]) add(sum, went === tier ? one[went].kept : one[went].moved);
        return amountText(sum, one.requests);
      };
      rows.push([range(bin), count(one.small?.requests ?? 0), count(one.large?.requests ?? 0), cost("small"), cost("large")]);
    });
    const columns = [["Score", ""], ["Went small", "number"], ["Went large", "number"], ["All small", "number"], ["All large", "number"]];
    byId("score-table").replaceChildren(table(columns, rows, "Requests by score, and their cost on either tier"));
  }
}

const range = (bin) => `${(bin / 100).toFixed(2)}–${((bin + 1) / 100).toFixed(2)}`;
const total = (policy) => policy.groups.reduce((sum, one) => sum + one.requests, 0);
