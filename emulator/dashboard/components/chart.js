// <line-chart>: several lines over time.
//
//   const chart = lineChart({
//     label: 'Telemetry', series: [{ key: 'rate', label: 'messages' }],   // colours by themselves
//     format: (value) => `${compact(value)}/s`,                           // axis and read-out
//     window: 120_000,        // ms shown; null: all points
//     capacity: 600,          // points kept
//     area: true,             // fills below a single line
//     join: false,            // true: a missing value is no gap (lines that have points in turn)
//     height: 160,
//     zero: true,             // the axis begins at zero; false: where the values are
//   });
//   chart.push(Date.parse(iso), { rate: 12.5 });   // a missing key is a gap
//   chart.set([{ at, values }, …]); chart.clear();
// The pointer, or the arrow keys when it has the focus, read a point out in the legend.

import { h, replace } from '../lib/html.js';
import { frame } from '../lib/ui.js';

const LEFT = 8;
const BOTTOM = 18;
const TOP = 8;

class LineChart extends HTMLElement {
  #options = null;
  #points = [];
  #cursor = null;
  #parts = null;
  #observer = null;
  #draw = frame(() => this.#paint());
  #scheme = matchMedia('(prefers-color-scheme: dark)');

  configure(options) {
    this.#options = { window: 120_000, capacity: 600, height: 160, area: true, zero: true, format: String, ...options };
    const values = this.#options.series.map(() => h('b', null, '–'));
    const legend = h('div', { class: 'chart-legend' }, this.#options.series.map((one, index) => h('span', { class: `series s${(index % 6) + 1}` },
      h('i', { 'aria-hidden': 'true' }), one.label, ' ', values[index])), h('span', { class: 'chart-at muted' }));
    const canvas = h('canvas', { height: this.#options.height, tabIndex: 0, role: 'img' });
    canvas.style.height = `${this.#options.height}px`;
    canvas.addEventListener('pointermove', (event) => this.#point(event.offsetX));
    canvas.addEventListener('pointerleave', () => this.#read(null));
    canvas.addEventListener('blur', () => this.#read(null));
    canvas.addEventListener('keydown', (event) => this.#key(event));
    this.#parts = { canvas, values, at: legend.lastChild, swatches: [...legend.querySelectorAll('i')] };
    replace(this, legend, canvas);
    this.#draw();
    return this;
  }

  connectedCallback() {
    this.#observer = new ResizeObserver(this.#draw);
    this.#observer.observe(this);
    this.#scheme.addEventListener('change', this.#draw);
    document.addEventListener('theme', this.#draw);
  }

  disconnectedCallback() {
    this.#observer.disconnect();
    this.#scheme.removeEventListener('change', this.#draw);
    document.removeEventListener('theme', this.#draw);
  }

  push(at, values) {
    this.#points.push({ at, values });
    if (this.#points.length > this.#options.capacity) {
      this.#points.splice(0, this.#points.length - this.#options.capacity);
    }
    this.#draw();
  }

  set(points) {
    this.#points = points.slice(-this.#options.capacity);
    this.#draw();
  }

  clear() {
    this.set([]);
  }

  get #shown() {
    const { window } = this.#options;
    const last = this.#points.at(-1)?.at ?? 0;
    // One more on the left, so that the line comes in from the edge.
    const first = window ? this.#points.findIndex((point) => point.at >= last - window) : 0;
    return this.#points.slice(Math.max(0, first - 1));
  }

  #range(points) {
    const to = points.at(-1)?.at ?? 0;
    const { window } = this.#options;
    const from = window ? to - window : points[0]?.at ?? 0;
    return [from, to > from ? to : from + 1];
  }

  #point(x) {
    const points = this.#shown;
    if (points.length === 0) return;
    const [from, to] = this.#range(points);
    const width = this.#parts.canvas.clientWidth - 2 * LEFT;
    const at = from + ((x - LEFT) / width) * (to - from);
    this.#read(points.reduce((best, point) => (Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best)));
  }

  #key(event) {
    const points = this.#shown;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || points.length === 0) return;
    event.preventDefault();
    const at = this.#cursor ? points.indexOf(this.#cursor) : points.length - 1;
    this.#read(points[Math.max(0, Math.min(points.length - 1, at + step))]);
  }

  #read(point) {
    this.#cursor = point;
    this.#draw();
  }

  /** What a line shows at a point: with `join`, what it had last. */
  #valueAt(read, key, points) {
    if (!this.#options.join || Number.isFinite(read?.values[key])) return read?.values[key];
    const before = points.findLast((point) => point.at <= (read?.at ?? 0) && Number.isFinite(point.values[key]));
    return before?.values[key];
  }

  #paint() {
    const { canvas, values, at, swatches } = this.#parts;
    const { series, format, label, area, join, zero } = this.#options;
    const points = this.#shown;
    if (this.#cursor && !points.includes(this.#cursor)) this.#cursor = null;
    const read = this.#cursor ?? points.at(-1);
    series.forEach((one, index) => {
      const value = this.#valueAt(read, one.key, points);
      values[index].textContent = Number.isFinite(value) ? format(value) : '–';
    });
    at.textContent = this.#cursor ? new Date(this.#cursor.at).toLocaleTimeString('en-GB') : '';
    const now = series.map((one, index) => `${one.label} ${values[index].textContent}`).join(', ');
    canvas.setAttribute('aria-label', `${label}: ${now}`);

    const ratio = devicePixelRatio || 1;
    const width = this.clientWidth;
    const height = this.#options.height;
    if (width === 0) return;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(this);
    const ink = style.color;
    const line = style.borderTopColor;

    const [from, to] = this.#range(points);
    const [low, high, step] = scale(points, series, zero);
    const x = (time) => LEFT + ((time - from) / (to - from)) * (width - 2 * LEFT);
    const y = (value) => TOP + (1 - (value - low) / (high - low)) * (height - TOP - BOTTOM);
    pen.font = `11px ${style.fontFamily}`;
    pen.textBaseline = 'alphabetic';
    pen.lineWidth = 1;
    for (let tick = low; tick <= high + step / 2; tick += step) {
      const place = Math.round(y(tick)) + 0.5;
      pen.strokeStyle = line;
      pen.beginPath();
      pen.moveTo(0, place);
      pen.lineTo(width, place);
      pen.stroke();
    }
    if (points.length > 0) {
      pen.fillStyle = ink;
      pen.textAlign = 'left';
      pen.fillText(new Date(from).toLocaleTimeString('en-GB'), 2, height - 4);
      pen.textAlign = 'right';
      pen.fillText(new Date(to).toLocaleTimeString('en-GB'), width - 2, height - 4);
    }
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, width, height - BOTTOM + 1);
    pen.clip();
    pen.lineJoin = 'round';
    series.forEach((one, index) => {
      const colour = getComputedStyle(swatches[index]).color;
      for (const run of runs(points, one.key, join)) {
        pen.beginPath();
        run.forEach((point, i) => (i ? pen.lineTo : pen.moveTo).call(pen, x(point.at), y(point.values[one.key])));
        pen.strokeStyle = colour;
        pen.lineWidth = 1.75;
        pen.stroke();
        if (run.length === 1) {
          pen.fillStyle = colour;
          pen.fillRect(x(run[0].at) - 1.5, y(run[0].values[one.key]) - 1.5, 3, 3);
        } else if (area && series.length === 1) {
          pen.lineTo(x(run.at(-1).at), y(low));
          pen.lineTo(x(run[0].at), y(low));
          pen.globalAlpha = 0.12;
          pen.fillStyle = colour;
          pen.fill();
          pen.globalAlpha = 1;
        }
      }
      const value = this.#cursor?.values[one.key];
      if (Number.isFinite(value)) {
        pen.beginPath();
        pen.arc(x(this.#cursor.at), y(value), 3.5, 0, 7);
        pen.fillStyle = colour;
        pen.fill();
      }
    });
    if (this.#cursor) {
      pen.strokeStyle = ink;
      pen.globalAlpha = 0.5;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x(this.#cursor.at), 0);
      pen.lineTo(x(this.#cursor.at), height);
      pen.stroke();
      pen.globalAlpha = 1;
    }
    pen.restore();
    // Above the lines, and set off from them.
    pen.textAlign = 'left';
    pen.lineWidth = 3;
    pen.strokeStyle = style.backgroundColor;
    pen.fillStyle = ink;
    for (let tick = low + step; tick <= high + step / 2; tick += step) {
      const place = Math.round(y(tick)) + 12;
      pen.strokeText(format(tick), 2, place);
      pen.fillText(format(tick), 2, place);
    }
  }
}

/** Round bounds and a step that makes two to five lines. */
function scale(points, series, zero) {
  let low = 0;
  let high = 0;
  let lowest = Infinity;
  for (const { values } of points) {
    for (const { key } of series) {
      const value = values[key];
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
      lowest = Math.min(lowest, value);
    }
  }
  // Values far from zero that differ little, such as temperatures, get the whole height.
  if (!zero && lowest > 0 && high - lowest < high * 0.4 && high > lowest) low = lowest;
  if (high === low) high = low + 1;
  const rough = (high - low) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  return [Math.floor(low / step) * step, Math.ceil(high / step) * step, step];
}

/** The stretches of points that have a value. */
function runs(points, key, join) {
  const all = [];
  let run = [];
  for (const point of points) {
    if (Number.isFinite(point.values[key])) run.push(point);
    else if (run.length && !join) {
      all.push(run);
      run = [];
    }
  }
  if (run.length) all.push(run);
  return all;
}

customElements.define('line-chart', LineChart);

/** A configured <line-chart>. */
export function lineChart(options) {
  return document.createElement('line-chart').configure(options);
}
