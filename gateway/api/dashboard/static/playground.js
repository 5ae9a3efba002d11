// Try a prompt: where it would go and why, or the answer itself with what it cost.

import { badge, byId, element, facts, table } from "./elements.js";
import { exact, pico, usd } from "./money.js";
import { explain } from "./requests.js";
import { post } from "./server.js";

export class Playground {
  constructor() {
    this.form = byId("ask");
    this.outcome = byId("outcome");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run(event.submitter?.value === "send" ? () => this.send() : () => this.route());
    });
    byId("prompt").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.form.requestSubmit(this.form.querySelector("[value=send]"));
    });
    byId("stop").addEventListener("click", () => this.stopping?.abort());
  }

  show(figures) {
    const select = byId("model");
    const names = figures.models;
    if (select.dataset.names === names.join()) return;
    select.dataset.names = names.join();
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => element("option", {}, name)));
    if (names.includes(chosen)) select.value = chosen;
  }

  get request() {
    const body = { model: byId("model").value, messages: [{ role: "user", content: byId("prompt").value }] };
    const longest = byId("max-tokens").value;
    return longest ? { ...body, max_tokens: Number(longest) } : body;
  }

  get headers() {
    const threshold = byId("own-threshold").value;
    const tags = { "x-gateway-tags": "from=dashboard" };
    return threshold === "" ? tags : { ...tags, "x-gateway-threshold": threshold };
  }

  async run(act) {
    this.stopping?.abort();
    const stopping = (this.stopping = new AbortController());
    byId("explanation").replaceChildren();
    byId("answer").hidden = true;
    byId("stop").hidden = false;
    this.outcome.classList.remove("problem");
    this.outcome.textContent = "Asking …";
    try {
      await act();
    } catch (error) {
      if (this.stopping !== stopping) return;
      this.outcome.classList.toggle("problem", error.name !== "AbortError");
      this.outcome.textContent = error.name === "AbortError" ? "Stopped." : error.message;
    } finally {
      if (this.stopping === stopping) byId("stop").hidden = true;
    }
  }

  async route() {
    const response = await post("route", this.request, { headers: this.headers, signal: this.stopping.signal });
    const told = await response.json();
    this.outcome.replaceChildren("Would go to ", badge(told.tier), ` ${told.deployment}: ${told.reason.replaceAll("_", " ")}.`);
    byId("explanation").replaceChildren(...decision(told));
  }

  async send() {
    const { signal } = this.stopping;
    const body = { ...this.request, stream: true, stream_options: { include_usage: true } };
    const response = await post("chat", body, { headers: this.headers, signal });
    const header = (name) => response.headers.get(name);
    const place = byId("answer");
    place.textContent = "";
    place.hidden = false;
    place.setAttribute("aria-busy", "true");
    this.outcome.replaceChildren(badge(header("x-gateway-tier")), ` ${header("x-gateway-model")} answers …`);
    let usage = null;
    try {
      for await (const text of events(response.body)) {
        if (text === "[DONE]") break;
        const chunk = JSON.parse(text);
        if (chunk.error) throw new Error(chunk.error.message);
        place.append(chunk.choices?.[0]?.delta?.content ?? "");
        if (chunk.usage) usage = { ...chunk.usage, cost: costIn(text) };
      }
    } finally {
      place.setAttribute("aria-busy", "false");
    }
    const cost = pico(usage?.cost ?? null);
    const score = header("x-gateway-score");
    this.outcome.replaceChildren(badge(header("x-gateway-tier")), ` ${header("x-gateway-model")} answered for ${usd(cost)}.`);
    const details = usage?.cost_details ?? {};
    const more = element("button", { type: "button", class: "plain" }, "Explain this request");
    more.addEventListener("click", () => explain(header("x-request-id")));
    byId("explanation").replaceChildren(
      element(
        "dl",
        { class: "facts" },
        ...facts([
          ["Reason", header("x-gateway-reason")],
          ["Score", score && `${score}, threshold ${header("x-gateway-threshold")}`],
          ["Tokens", usage && `${usage.prompt_tokens} in, ${usage.completion_tokens} out`],
          ["Cost", `${exact(cost)}${details.source ? ` (${details.source})` : ""}`],
          ["Price", details.price_id],
          ["Energy", details.energy_wh == null ? null : `${Number(details.energy_wh).toPrecision(3)} Wh (${details.energy_source})`],
          ["CO₂", details.co2_g == null ? null : `${Number(details.co2_g).toPrecision(3)} g`],
          ["Router version", header("x-gateway-router")],
          ["The gateway’s own time", `${header("x-gateway-overhead-ms")} ms`],
        ]),
      ),
      more,
    );
  }
}

function decision(told) {
  const parts = [...told.contributions].sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect)).slice(0, 12);
  const longest = Math.max(...parts.map((part) => Math.abs(part.effect)), 1e-9);
  const bar = (part) => {
    const made = element("i", { class: part.effect < 0 ? "small" : "large" });
    made.style.setProperty("--long", Math.abs(part.effect) / longest);
    return element("span", { class: "effect" }, made, `${part.effect < 0 ? "−" : "+"}${Math.abs(part.effect).toFixed(2)}`);
  };
  const costs = told.costs.map((one) => `${one.deployment} ${usd(pico(one.estimated_usd))}`).join(", ");
  const excluded = told.excluded.map((one) => `${one.deployment} (${one.reason.replaceAll("_", " ")})`).join(", ");
  return [
    element(
      "dl",
      { class: "facts" },
      ...facts([
        ["Score", told.score?.toFixed(4)],
        ["Threshold", told.threshold?.toFixed(4)],
        ["Margin", told.margin === null ? null : told.margin.toFixed(4).replace("-", "−")],
        ["Policy", told.policy],
        ["Rules that fired", told.rules.join(", ")],
        ["Next in line", told.runner_up],
        ["Would cost, estimated", costs],
        ["Can’t serve it", excluded],
        ["Router version", told.router],
      ]),
    ),
    parts.length
      ? table([["What led to the score", ""], ["Value", "number"], ["Effect", ""]], parts.map((part) => [part.feature.replaceAll("_", " "), String(Number(part.value.toPrecision(3))), bar(part)]))
      : null,
  ].filter(Boolean);
}

/** The exact digits of a chunk's cost: parsed as a number they would be rounded. */
function costIn(text) {
  const found = /"cost":\s*(\d+(?:\.\d+)?)[,}\s]/.exec(text);
  return found ? found[1] : null;
}

/** The data of server-sent events, one at a time. */
async function* events(body) {
  let rest = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
  }
}
