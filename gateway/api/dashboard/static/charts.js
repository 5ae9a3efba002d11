// Bars over time, and the histogram of scores. uPlot draws; colours come from the style sheet.

const { uPlot } = globalThis;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function axes(values) {
  const look = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return [
    { ...look, grid: { show: false }, size: 28 },
    { ...look, size: 62, values },
  ];
}

/** A chart that keeps to its place's width and tells, beside the cursor, what `tip` says of a bar. */
class Chart {
  constructor(place, options, data, tip) {
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    const size = () => ({ width: Math.max(place.clientWidth, 200), height: place.clientHeight });
    const cursor = { drag: { x: false, y: false }, points: { show: false }, y: false, ...options.cursor };
    const hooks = { ...options.hooks, setCursor: [(plot) => this.point(plot, tip)] };
    this.plot = new uPlot({ ...size(), ...options, legend: { show: false }, cursor, hooks }, data, place);
    this.plot.over.append(this.tip);
    this.watch = new ResizeObserver(() => this.plot.setSize(size()));
    this.watch.observe(place);
  }

  point(plot, tip) {
    const { idx, left } = plot.cursor;
    this.tip.hidden = idx === null || idx === undefined || left < 0;
    if (this.tip.hidden) return;
    this.tip.textContent = tip(idx);
    const room = plot.over.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(left + 12, room))}px`;
  }

  remove() {
    this.watch.disconnect();
    this.plot.destroy();
  }
}

const bars = (fill) => ({ fill: () => fill, stroke: () => fill, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.75, 48], radius: [0.15, 0] }) });

/** Small and large on top of one another, a bar for each step; `errors` stand before them. */
export class StackedBars {
  /** `label` tells a tick of the vertical axis, `tip` the bar at a step. */
  constructor(place, label, tip) {
    this.place = place;
    this.label = label;
    this.tip = tip;
  }

  /** `steps` are Unix seconds; the others are numbers, one a step. */
  show(steps, small, large, errors = null) {
    this.data = [steps, large.map((value, at) => value + small[at]), small, ...(errors ? [errors] : [])];
    const width = steps.length > 1 ? steps[1] - steps[0] : 3600;
    this.range = [steps[0] - width / 2, steps[steps.length - 1] + width / 2];
    if (this.chart && this.data.length === this.drawn) {
      this.chart.plot.setData(this.data, false);
      this.chart.plot.batch(() => {
        this.chart.plot.setScale("x", { min: this.range[0], max: this.range[1] });
        this.chart.plot.setScale("y", { min: 0, max: this.top() });
      });
    } else {
      this.draw();
    }
  }

  top() {
    return Math.max(...this.data[1], ...(this.data[3] ?? [0])) * 1.08 || 1;
  }

  draw() {
    if (!this.data) return;
    this.chart?.remove();
    this.drawn = this.data.length;
    const [across, up] = axes((_, ticks) => ticks.map((...tick) => this.label(...tick)));
    this.chart = new Chart(
      this.place,
      {
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        padding: [10, 8, 0, 0],
        scales: { x: { range: () => this.range }, y: { range: () => [0, this.top()] } },
        axes: [{ ...across, space: 60, values: (_, ticks) => ticks.map((tick) => stepLabel(tick, this.data[0])) }, up],
        series: [{}, bars(colour("large")), bars(colour("small")), ...(this.drawn > 3 ? [bars(colour("error"))] : [])],
      },
      this.data,
      (at) => this.tip(at),
    );
  }
}

function stepLabel(seconds, steps) {
  const hourly = steps.length > 1 && steps[1] - steps[0] < 86400;
  const options = hourly ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : { month: "short", day: "numeric" };
  return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" }).format(seconds * 1000);
}

/** Requests by score, coloured by where a threshold sends them; the line can be dragged. */
export class ScoreHistogram {
  constructor(place, moved, tip) {
    this.place = place;
    this.moved = moved;
    this.tip = tip;
    this.counts = new Array(100).fill(0);
    this.threshold = 0.5;
    this.live = null;
  }

  /** `counts` has a number for each hundredth; `live` is the policy's own threshold, if it has one. */
  show(counts, threshold, live) {
    Object.assign(this, { counts, threshold, live });
    if (!this.chart) {
      this.draw();
      return;
    }
    this.chart.plot.setData(this.data());
  }

  data() {
    const cut = Math.round(this.threshold * 100);
    return [
      this.counts.map((_, bin) => (bin + 0.5) / 100),
      this.counts.map((value, bin) => (bin < cut ? value : null)),
      this.counts.map((value, bin) => (bin >= cut ? value : null)),
    ];
  }

  draw() {
    this.chart?.remove();
    const [across, up] = axes((_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? String(tick) : "")));
    const thin = (name) => ({ ...bars(colour(name)), paths: uPlot.paths.bars({ size: [0.85, 24] }) });
    this.chart = new Chart(
      this.place,
      {
        padding: [18, 12, 0, 0],
        scales: { x: { time: false, range: () => [0, 1] }, y: { range: () => [0, Math.max(...this.counts) * 1.1 || 1] } },
        axes: [{ ...across, values: (_, ticks) => ticks.map((tick) => String(Number(tick.toFixed(2)))) }, up],
        series: [{}, thin("small"), thin("large")],
        hooks: { draw: [(plot) => this.drawLines(plot)] },
      },
      this.data(),
      (bin) => this.tip(bin),
    );
    this.dragOn(this.chart.plot);
  }

  drawLines(plot) {
    const { ctx, bbox } = plot;
    const scale = devicePixelRatio;
    const line = (value, dash, name, label, below) => {
      const x = plot.valToPos(value, "x", true);
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = colour(name);
      ctx.lineWidth = 2 * scale;
      ctx.setLineDash(dash.map((part) => part * scale));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.font = `${12 * scale}px system-ui, sans-serif`;
      ctx.textAlign = value > 0.85 ? "right" : "left";
      ctx.fillText(label, x + (value > 0.85 ? -6 : 6) * scale, bbox.top + (below ? 26 : 10) * scale);
      if (!dash.length) {
        ctx.beginPath();
        ctx.arc(x, bbox.top + bbox.height / 2, 7 * scale, 0, 2 * Math.PI);
        ctx.fill();
      }
      ctx.restore();
    };
    if (this.live !== null && Math.abs(this.live - this.threshold) >= 0.005) line(this.live, [4, 4], "quiet", `live ${this.live.toFixed(2)}`, true);
    line(this.threshold, [], "ink", this.threshold.toFixed(2), false);
  }

  dragOn(plot) {
    const place = plot.over;
    const move = (event) => {
      const value = plot.posToVal(event.clientX - place.getBoundingClientRect().left, "x");
      this.moved(Math.round(Math.min(1, Math.max(0, value)) * 100) / 100);
    };
    place.classList.add("draggable");
    place.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      place.setPointerCapture(event.pointerId);
      move(event);
    });
    place.addEventListener("pointermove", (event) => {
      if (place.hasPointerCapture(event.pointerId)) move(event);
    });
  }
}
