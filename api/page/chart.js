// A line chart in SVG: power over time, the range between lowest and highest behind it, gaps left open.
import { formatCount, formatInstant, formatMoment, formatPower } from "./format.js";

export class PowerChart {
  constructor(svg, caption) {
    this.svg = svg;
    this.caption = caption;
    this.points = [];
    this.range = [0, 1];
    this.marked = null;
    svg.addEventListener("pointermove", (event) => this.markAt(event));
    svg.addEventListener("pointerleave", () => this.mark(null));
    svg.addEventListener("keydown", (event) => this.step(event));
  }

  // points: {at, mean, low, high} by time, `at` in ms; widthMs: how long one point lasts (0: a single reading);
  // isNewest: there are more points, before the range.
  show(points, range, widthMs, isNewest = false) {
    Object.assign(this, { points, range, widthMs, isNewest, marked: null });
    this.draw();
  }

  append(point) {
    const last = this.points[this.points.length - 1];
    if (last && point.at <= last.at) return;
    this.points.push(point);
    const span = this.range[1] - this.range[0];
    if (point.at > this.range[1]) this.range = [point.at - span, point.at];
    while (this.points.length && this.points[0].at < this.range[0]) this.points.shift();
    this.draw();
  }

  draw() {
    // Small screens show the same drawing smaller, with larger letters in it.
    const left = window.innerWidth < 640 ? 92 : 62;
    this.frame = { left, right: 708, top: 14, bottom: 268 };
    this.topW = niceTop(Math.max(1, ...this.points.map((point) => point.high)));
    const parts = [...this.grid()];
    for (const run of this.runs()) {
      if (this.widthMs > 0) parts.push(element("path", { class: "band", d: this.band(run) }));
      if (run.length === 1) parts.push(element("circle", { class: "single", cx: this.x(run[0].at), cy: this.y(run[0].mean), r: 2.5 }));
      else parts.push(element("path", { class: "line", d: this.line(run, "mean") }));
    }
    this.cursor = element("g", { class: "cursor" });
    this.svg.replaceChildren(...parts, this.cursor);
    this.mark(this.marked);
  }

  x(at) {
    const { left, right } = this.frame;
    return round(left + ((at - this.range[0]) / (this.range[1] - this.range[0] || 1)) * (right - left));
  }

  y(watts) {
    const { top, bottom } = this.frame;
    return round(bottom - (watts / this.topW) * (bottom - top));
  }

  *grid() {
    const { left, right, bottom } = this.frame;
    for (let part = 0; part <= 4; part += 1) {
      const watts = (this.topW * part) / 4;
      yield element("line", { class: "rule", x1: left, x2: right, y1: this.y(watts), y2: this.y(watts) });
      yield element("text", { class: "tick", x: left - 8, y: this.y(watts) + 4, "text-anchor": "end" }, axisPower(watts, this.topW));
    }
    const span = this.range[1] - this.range[0];
    for (let part = 0; part <= 4; part += 1) {
      const at = this.range[0] + (span * part) / 4;
      const anchor = part === 0 ? "start" : part === 4 ? "end" : "middle";
      yield element("text", { class: "tick", x: this.x(at), y: bottom + 22, "text-anchor": anchor }, formatMoment(at, span));
    }
  }

  // Points far apart belong to no common line: nobody knows what was between them.
  runs() {
    const steps = this.points.slice(1).map((point, index) => point.at - this.points[index].at).sort((a, b) => a - b);
    const usual = this.widthMs || steps[Math.floor(steps.length / 2)] || 0;
    const runs = [];
    this.points.forEach((point, index) => {
      const apart = index === 0 || point.at - this.points[index - 1].at > usual * 3.5;
      if (apart) runs.push([point]);
      else runs[runs.length - 1].push(point);
    });
    return runs;
  }

  line(run, member) {
    return run.map((point, index) => `${index ? "L" : "M"}${this.x(point.at)} ${this.y(point[member])}`).join("");
  }

  band(run) {
    const back = [...run].reverse().map((point) => `L${this.x(point.at)} ${this.y(point.low)}`).join("");
    return `${this.line(run, "high")}${back}Z`;
  }

  markAt(event) {
    const box = this.svg.getBoundingClientRect();
    const { left, right } = this.frame;
    const share = ((event.clientX - box.left) / box.width) * 720;
    const at = this.range[0] + ((share - left) / (right - left)) * (this.range[1] - this.range[0]);
    let nearest = null;
    this.points.forEach((point, index) => {
      if (nearest === null || Math.abs(point.at - at) < Math.abs(this.points[nearest].at - at)) nearest = index;
    });
    this.mark(nearest);
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !this.points.length) return;
    event.preventDefault();
    const from = this.marked === null ? this.points.length - (by < 0 ? 0 : 1) : this.marked;
    this.mark(Math.min(this.points.length - 1, Math.max(0, from + by)));
  }

  mark(index) {
    this.marked = index;
    const point = index === null ? null : this.points[index];
    if (!point) {
      this.cursor.replaceChildren();
      this.caption.textContent = this.summary();
      return;
    }
    const { top, bottom } = this.frame;
    this.cursor.replaceChildren(
      element("line", { x1: this.x(point.at), x2: this.x(point.at), y1: top, y2: bottom }),
      element("circle", { cx: this.x(point.at), cy: this.y(point.mean), r: 4 }),
    );
    const spread = this.widthMs > 0 ? ` (${formatPower(point.low)} to ${formatPower(point.high)})` : "";
    this.caption.textContent = `${new Date(point.at).toLocaleString()}: ${formatPower(point.mean)}${spread}`;
  }

  summary() {
    if (!this.points.length) return "No readings in this range.";
    const highest = Math.max(...this.points.map((point) => point.high));
    const count = formatCount(this.points.length);
    const what = this.isNewest ? `Only the newest ${count} readings, since ${formatInstant(this.range[0])}` : `${count} points`;
    return `${what}, up to ${formatPower(highest)}. Point at the chart, or use the arrow keys.`;
  }
}

function niceTop(watts) {
  const scale = 10 ** Math.floor(Math.log10(watts));
  return [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].map((step) => step * scale).find((top) => top >= watts);
}

function axisPower(watts, topW) {
  return topW >= 1000 ? `${Number((watts / 1000).toFixed(3))} kW` : `${Number(watts.toFixed(2))} W`;
}

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function round(number) {
  return Math.round(number * 10) / 10;
}
