// The latest requests, and why each went where it did.

import { badge, byId, count, duration, element, facts } from "./elements.js";
import { exact, pico, usd } from "./money.js";
import { read } from "./server.js";

const REASONS = {
  below_threshold: "The score is below the threshold, so the small tier answered.",
  above_threshold: "The score reaches the threshold, so the large tier answered.",
  pinned: "The client named this deployment, so nothing was routed.",
  no_large_backend: "The large tier was wanted, but nothing there could be called.",
  no_small_backend: "The small tier was wanted, but nothing there could be called.",
  fallback: "The chosen deployment failed, so another one answered.",
  retry: "The first attempt failed, so the same deployment was asked again.",
  escalated: "The small model wasn’t sure of its beginning, so the large tier answered.",
  hedged: "The first attempt took long, so a second one was begun beside it.",
  affinity: "The conversation stayed on the model that had answered it before.",
  explored: "The tier was chosen by chance, so that both tiers’ quality stays known.",
  context_too_long: "The prompt is too long for the other tier.",
  out_of_domain: "The question is unlike those that the score was learnt from, so the policy’s safe side answered.",
  passthrough: "The request was passed on as it came; nothing was routed.",
  budget: "The key’s budget is used up, so the small tier answers from now on.",
};

function reasonText(reason) {
  if (REASONS[reason]) return REASONS[reason];
  if (reason.startsWith("needs_")) return `The request needs ${reason.slice(6).replaceAll("_", " ")}, which only this tier can do.`;
  return reason.replaceAll("_", " ");
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

export class Requests {
  constructor() {
    this.rows = new Map();
    this.body = byId("requests");
    this.isPaused = false;
    this.waiting = null;
    const pause = byId("pause");
    pause.addEventListener("click", () => {
      this.isPaused = !this.isPaused;
      pause.setAttribute("aria-pressed", String(this.isPaused));
      if (!this.isPaused && this.waiting) this.show(this.waiting);
    });
    const dialog = byId("why");
    byId("why-close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }

  /** Show the newest requests; rows that stay keep their place in the document, and their focus. */
  show(latest) {
    this.waiting = latest;
    if (this.isPaused) return;
    const wasEmpty = this.rows.size === 0;
    const kept = new Map();
    let before = this.body.firstElementChild;
    for (const one of latest) {
      const known = this.rows.get(one.request_id);
      const state = `${one.attempts} ${one.outcome}`;
      const row = known?.dataset.state === state ? known : this.row(one, !wasEmpty && !known, state);
      if (known && known !== row) {
        if (before === known) before = known.nextElementSibling;
        known.remove();
      }
      if (row === before) before = before.nextElementSibling;
      else this.body.insertBefore(row, before);
      kept.set(one.request_id, row);
    }
    while (before) {
      const next = before.nextElementSibling;
      before.remove();
      before = next;
    }
    this.rows = kept;
  }

  row(one, isNew, state) {
    const at = new Date(one.ts);
    const open = element("button", { type: "button", class: "link", title: moment.format(at) }, clock.format(at));
    const failed = one.outcome !== "ok";
    const cost = pico(one.cost_usd);
    const tokens = one.prompt_tokens === null ? "–" : `${count(one.prompt_tokens)} + ${count(one.completion_tokens)}`;
    const row = element(
      "tr",
      { class: isNew ? "new" : null, "data-request": one.request_id },
      element("td", {}, open),
      element("td", {}, badge(one.tier), failed ? element("span", { class: "failed" }, one.outcome.replaceAll("_", " ")) : null),
      element("td", { class: "wide" }, one.deployment, one.attempts > 1 ? element("span", { class: "quiet" }, ` · attempt ${one.attempts}`) : null),
      element("td", { class: "middle" }, one.score === null ? "–" : `${one.score.toFixed(2)} ${one.score >= one.threshold ? "≥" : "<"} ${one.threshold.toFixed(2)}`),
      element("td", { class: "middle reason" }, one.reason.replaceAll("_", " ")),
      element("td", { class: "number wide" }, tokens),
      element("td", { class: "number", title: exact(cost) }, one.prompt_tokens === null ? "–" : usd(cost)),
      element("td", { class: "number middle" }, duration(one.latency_ms)),
    );
    row.dataset.state = state;
    open.setAttribute("aria-label", `${clock.format(at)}, explain this request`);
    row.addEventListener("click", () => explain(one.request_id));
    return row;
  }
}

/** Open the explanation of one request. */
export async function explain(id) {
  const dialog = byId("why");
  try {
    const attempts = await read(`requests/${encodeURIComponent(id)}`);
    if (!attempts.length) throw new Error("Its row isn’t in the ledger yet; try again in a second.");
    const [first] = attempts;
    const last = attempts[attempts.length - 1];
    byId("why-title").replaceChildren("Answered by the ", badge(last.tier), " tier");
    byId("why-body").replaceChildren(...explained(first, last, attempts));
  } catch (error) {
    byId("why-title").textContent = "No explanation";
    byId("why-body").replaceChildren(element("p", {}, error.message));
  }
  if (!dialog.open) dialog.showModal();
}

function explained(first, last, attempts) {
  const margin = first.score === null || first.threshold === null ? null : first.score - first.threshold;
  const tags = Object.entries(first.tags).map(([name, value]) => `${name}=${value}`).join(", ");
  return [
    element("p", { class: "lead" }, reasonText(first.reason), last === first ? "" : ` ${reasonText(last.reason)}`),
    first.score === null ? null : scale(first),
    element(
      "dl",
      { class: "facts" },
      ...facts([
        ["Score", first.score?.toFixed(4)],
        ["Threshold", first.threshold?.toFixed(4)],
        ["Margin", margin === null ? null : `${margin < 0 ? "−" : "+"}${Math.abs(margin).toFixed(4)} (${margin < 0 ? "leans small" : "leans large"})`],
        ["Reason", first.reason],
        ["Policy", first.policy],
        ["Router version", first.router_version],
        ["Chosen with probability", first.propensity < 1 ? first.propensity.toFixed(3) : null],
        ["Confidence of the small model", first.confidence?.toFixed(3)],
        ["Model asked for", first.model_requested],
        ["Endpoint", first.endpoint],
        ["Key id", first.key_id],
        ["Session", first.session],
        ["Tags", tags],
        ["Came", moment.format(new Date(first.ts))],
        ["Request id", element("code", {}, first.request_id)],
        ["The client’s own id", first.client_request_id],
      ]),
    ),
    element("h3", {}, attempts.length === 1 ? "One attempt" : `${attempts.length} attempts`),
    ...attempts.map(attempt),
    element("p", { class: "quiet" }, "The ledger has no prompts, so none is shown."),
  ].filter(Boolean);
}

function scale(row) {
  const made = element("div", { class: "scale", role: "img", "aria-label": `Score ${row.score.toFixed(2)} on a scale from 0 to 1, threshold ${row.threshold.toFixed(2)}` });
  const mark = (name, value) => {
    const one = element("i", { class: name });
    one.style.setProperty("--at", Math.min(1, Math.max(0, value)));
    return one;
  };
  made.append(mark("threshold", row.threshold), mark("score", row.score));
  return made;
}

function attempt(row) {
  const cost = pico(row.cost_usd);
  const used = row.prompt_tokens !== null;
  const details = [
    row.cached_tokens ? `${count(row.cached_tokens)} of the prompt cached` : null,
    row.reasoning_tokens ? `${count(row.reasoning_tokens)} of the answer reasoning` : null,
    row.usage_source,
  ].filter(Boolean);
  const energy = row.energy_wh === null || row.energy_wh === undefined ? null : `${row.energy_wh.toPrecision(3)} Wh (${row.energy_source})`;
  const co2 = row.co2_g === null || row.co2_g === undefined ? null : `${row.co2_g.toPrecision(3)} g`;
  return element(
    "dl",
    { class: "facts attempt" },
    ...facts([
      [`Attempt ${row.attempt}`, element("span", {}, badge(row.tier), ` ${row.deployment}`)],
      ["Outcome", `${row.outcome.replaceAll("_", " ")} (${row.status})`],
      ["Reason", row.reason],
      ["Model that answered", row.model_served],
      ["Tokens", used ? `${count(row.prompt_tokens)} in, ${count(row.completion_tokens)} out (${details.join(", ")})` : "none"],
      ["Cost", used ? `${exact(cost)} (${row.cost_source})` : "nothing was used"],
      ["Price", row.price_id],
      ["Energy", energy],
      ["CO₂", co2],
      ["Time taken", duration(row.latency_ms)],
      ["To the first token", row.ttft_ms === null ? null : duration(row.ttft_ms)],
      ["The gateway’s own time", duration(row.overhead_ms)],
    ]),
  );
}
