// One curve picture on a canvas: lines of both versions, marks of events, a crosshair.

import { h, say, swatch } from './dom.js';
import { hhmm, hhmmss } from './words.js';

const LEFT = 46;
const RIGHT = 10;
const TOP = 16;
const BOTTOM = 18;
const HEIGHT = 132;
/// How near the pointer must be to a mark, in pixels.
const NEAR = 7;

/// How the lines differ besides their colour.
const STROKES = {
  stable: { width: 1.6, dash: [] },
  canary: { width: 2, dash: [6, 3] },
  other: { width: 1.2, dash: [1, 3] },
  limit: { width: 1.2, dash: [2, 3] },
  first: { width: 1.8, dash: [] },
  second: { width: 1.6, dash: [7, 2, 1.5, 2] },
  third: { width: 1.4, dash: [3, 3] },
};

/// What a mark looks like: what raises, what lowers, what stops, all else.
const SHAPES = {
  up: 'M0 -4 4.5 4 -4.5 4Z',
  down: 'M0 4.5 -4.5 -3.5 4.5 -3.5Z',
  stop: 'M-3.5 -4h2.4v8h-2.4zM1.1 -4h2.4v8h-2.4z',
  note: 'M0 -4 4 0 0 4 -4 0Z',
};

function shapeOf(kind) {
  if (/^(raised|promoted|started|upgrade_started)$/.test(kind)) return 'up';
  if (/^(lowered|rolled_back|turned_back)$/.test(kind)) return 'down';
  if (/^(paused|held|froze|closed|asked|decision_nears|decision_passed|overdue|step_interrupted)$/.test(kind)) return 'stop';
  return 'note';
}

const paths = {};
const path = (shape) => (paths[shape] ??= new Path2D(SHAPES[shape]));

let palette;
/// The colours of the sheet, read once for each theme.
function colours() {
  if (palette) return palette;
  const probe = h('i', { hidden: true });
  document.body.append(probe);
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  palette = {
    stable: read('stable'), canary: read('canary'), other: read('quiet'), limit: read('bad'),
    first: read('ink'), second: read('soft'), third: read('quiet'),
    grid: read('grid'), text: read('quiet'), ink: read('ink'), paper: read('paper'),
    up: read('good'), down: read('bad'), stop: read('ink'), note: read('soft'),
  };
  probe.remove();
  return palette;
}
const themed = () => (palette = undefined);
document.addEventListener('weir-theme', themed);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', themed);

/// A round number not below `value`.
function nice(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * size >= value * 0.9999) * size;
}

/// Distance of the labels of time.
function tick(length) {
  const minute = 60_000;
  return [1, 5, 15, 60, 240, 480].map((minutes) => minutes * minute).find((each) => length / each <= 6) ?? 960 * minute;
}

export class Chart {
  /// `format` writes a value, `floor` is the least upper end and `cap` the most, `ticks` lists the lines of
  /// the grid, `group` shares the crosshair.
  constructor({ title, hint, format, floor = 0, cap, ticks, group }) {
    Object.assign(this, { title, format, floor, cap, steps: ticks, group });
    this.lines = [];
    this.marks = [];
    this.canvas = h('canvas');
    this.over = h('canvas', { class: 'over' });
    this.tip = h('p', { class: 'tip', hidden: true });
    this.spoken = h('p', { class: 'unseen', role: 'status' });
    this.legend = h('ul', { class: 'legend' });
    this.plot = h('div', {
      class: 'plot', tabIndex: 0, role: 'img',
      onpointermove: (event) => this.point(event), onpointerdown: (event) => this.point(event),
      onpointerleave: () => this.group.cross(null), onkeydown: (event) => this.key(event),
      onblur: () => this.group.cross(null),
    }, this.canvas, this.over, this.tip);
    this.element = h('figure', { class: 'chart' },
      h('figcaption', {}, h('h4', { title: hint ?? '' }, title), this.legend), this.plot, this.spoken);
    group?.charts.push(this);
    this.seen = false;
    owners.set(this.plot, this);
    watching.observe(this.plot);
    sizes.observe(this.plot);
  }

  /// `lines` are { name, style, values }; `scene` has from, step, length and marks.
  set(lines, scene) {
    this.lines = lines;
    this.scene = scene;
    this.marks = scene.marks;
    this.later();
  }

  /// Draws with the next frame, if it is in sight.
  later() {
    if (this.due) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      if (this.seen) this.draw();
      this.read();
    });
  }

  size() {
    const width = this.plot.clientWidth || 300;
    const scale = devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.over]) {
      if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(HEIGHT * scale)) {
        canvas.width = Math.round(width * scale);
        canvas.height = Math.round(HEIGHT * scale);
      }
    }
    this.width = width;
    this.scale = scale;
  }

  x(index) {
    return LEFT + ((index + 0.5) / this.scene.length) * (this.width - LEFT - RIGHT);
  }

  y(value) {
    return HEIGHT - BOTTOM - (Math.max(0, Math.min(value, this.top)) / this.top) * (HEIGHT - TOP - BOTTOM);
  }

  /// The upper end of the scale.
  peak() {
    let top = this.floor;
    for (const { values } of this.lines) {
      for (let index = 0; index < values.length; index++) if (values[index] > top) top = values[index];
    }
    if (this.steps) return top;
    return this.cap && top > this.cap ? this.cap : nice(top || 1);
  }

  draw() {
    if (!this.scene) return;
    this.size();
    this.top = this.peak();
    const paint = this.canvas.getContext('2d');
    paint.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    paint.clearRect(0, 0, this.width, HEIGHT);
    this.grid(paint);
    this.ticks(paint);
    this.flags(paint);
    for (const line of this.lines) this.line(paint, line);
    this.cross(this.at ?? null);
  }

  grid(paint) {
    const colour = colours();
    paint.font = '11px system-ui, sans-serif';
    paint.textBaseline = 'middle';
    paint.textAlign = 'right';
    paint.lineWidth = 1;
    paint.setLineDash([]);
    const { top } = this;
    for (const value of this.steps?.(top) ?? [0, top / 2, top]) {
      const y = Math.round(this.y(value)) + 0.5;
      paint.strokeStyle = colour.grid;
      paint.beginPath();
      paint.moveTo(LEFT, y);
      paint.lineTo(this.width - RIGHT, y);
      paint.stroke();
      paint.fillStyle = colour.text;
      paint.fillText(this.format(value), LEFT - 6, y);
    }
  }

  ticks(paint) {
    const { from, step, length } = this.scene;
    const each = tick(length * step);
    paint.fillStyle = colours().text;
    paint.textAlign = 'center';
    paint.textBaseline = 'alphabetic';
    const zone = new Date(from).getTimezoneOffset() * 60_000;
    for (let at = Math.ceil((from - zone) / each) * each + zone; at < from + length * step; at += each) {
      const x = this.x((at - from) / step - 0.5);
      if (x > LEFT + 12 && x < this.width - RIGHT - 12) paint.fillText(hhmm(at), x, HEIGHT - 4);
    }
  }

  flags(paint) {
    const colour = colours();
    paint.setLineDash([]);
    for (const mark of this.marks) {
      const shape = shapeOf(mark.kind);
      const x = this.markX(mark);
      if (x < LEFT) continue;
      paint.strokeStyle = colour.grid;
      paint.beginPath();
      paint.moveTo(Math.round(x) + 0.5, TOP);
      paint.lineTo(Math.round(x) + 0.5, HEIGHT - BOTTOM);
      paint.stroke();
      paint.save();
      paint.translate(x, 7);
      paint.fillStyle = colour[shape];
      paint.fill(path(shape));
      paint.restore();
    }
  }

  markX(mark) {
    return this.x((mark.at - this.scene.from) / this.scene.step - 0.5);
  }

  line(paint, { style, values, stepped }) {
    const colour = colours();
    const stroke = STROKES[style];
    paint.strokeStyle = colour[style];
    paint.fillStyle = colour[style];
    paint.lineWidth = stroke.width;
    paint.setLineDash(stroke.dash);
    paint.lineJoin = 'bevel';
    paint.beginPath();
    const final = this.trace(paint, values, stepped);
    paint.stroke();
    paint.setLineDash([]);
    if (final) this.end(paint, style, final);
  }

  /// Lays the path of a line; gives its last point. Where there are more points than pixels each column of
  /// pixels gets its least and its greatest: no peak is lost, and there are few lines to draw.
  trace(paint, values, stepped) {
    const { length } = values;
    const each = Math.max(1, Math.floor(length / (this.width - LEFT - RIGHT)));
    let before = null;
    let final = null;
    const to = (index, value) => {
      const x = this.x(index);
      const y = this.y(value);
      if (before === null) {
        // A point alone is seen, too.
        const alone = (values[index + 1] ?? null) === null && each === 1;
        paint.moveTo(alone ? x - 1.5 : x, y);
        if (alone) paint.lineTo(x + 1.5, y);
      } else {
        if (stepped) paint.lineTo(x, before);
        paint.lineTo(x, y);
      }
      before = y;
      final = [x, y];
    };
    for (let index = 0; index < length; index += each) {
      let low = -1;
      let high = -1;
      for (let place = index; place < Math.min(length, index + each); place++) {
        const value = values[place];
        if (value === null || value === undefined) continue;
        if (low < 0 || value < values[low]) low = place;
        if (high < 0 || value > values[high]) high = place;
      }
      if (low < 0) before = null;
      else {
        const [first, second] = low < high ? [low, high] : [high, low];
        to(first, values[first]);
        if (second !== first) to(second, values[second]);
      }
    }
    return final;
  }

  /// The shape at the end of a line, by which versions differ without colour.
  end(paint, style, [x, y]) {
    if (style !== 'stable' && style !== 'canary') return;
    paint.beginPath();
    if (style === 'stable') paint.arc(x, y, 3.2, 0, 2 * Math.PI);
    else {
      paint.moveTo(x, y - 4.6);
      paint.lineTo(x + 4.6, y);
      paint.lineTo(x, y + 4.6);
      paint.lineTo(x - 4.6, y);
      paint.closePath();
    }
    paint.fill();
  }

  /// The crosshair at a point; null: none.
  cross(index) {
    this.at = index;
    if (!this.scene || !this.seen) return;
    const paint = this.over.getContext('2d');
    paint.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    paint.clearRect(0, 0, this.width, HEIGHT);
    this.read();
    if (index === null) return;
    const colour = colours();
    const x = Math.round(this.x(index)) + 0.5;
    paint.strokeStyle = colour.ink;
    paint.globalAlpha = 0.55;
    paint.beginPath();
    paint.moveTo(x, TOP - 4);
    paint.lineTo(x, HEIGHT - BOTTOM);
    paint.stroke();
    paint.globalAlpha = 1;
    for (const { style, values } of this.lines) {
      const value = values[index];
      if (value === null || value === undefined || style === 'limit') continue;
      paint.fillStyle = colour[style];
      paint.strokeStyle = colour.paper;
      paint.beginPath();
      paint.arc(x, this.y(value), 3.5, 0, 2 * Math.PI);
      paint.fill();
      paint.stroke();
    }
  }

  /// The values at the crosshair, or the last ones.
  read() {
    const values = this.lines.map(({ values }) => (this.at === undefined || this.at === null
      ? values.findLast((value) => value !== null && value !== undefined) : values[this.at]));
    const written = values.map((value) => (value === null || value === undefined ? '–' : this.format(value)));
    const shape = this.lines.map(({ name, style }) => `${name}\n${style}`).join('\n');
    if (this.shape !== shape) {
      this.shape = shape;
      this.numbers = this.lines.map(() => h('b'));
      this.legend.replaceChildren(...this.lines.map(({ name, style }, index) =>
        h('li', { class: style }, swatch(style), h('span', {}, name), this.numbers[index])));
    }
    written.forEach((text, index) => say(this.numbers[index], text));
    const told = this.lines.map(({ name }, index) => `${name} ${written[index]}`).join(', ');
    const label = `${this.title}: ${told || 'nothing yet'}`;
    if (this.plot.getAttribute('aria-label') !== label) this.plot.setAttribute('aria-label', label);
    return told;
  }

  /// The pointer is here.
  point(event) {
    if (!this.scene) return;
    const box = this.plot.getBoundingClientRect();
    const x = event.clientX - box.left;
    const part = (x - LEFT) / (box.width - LEFT - RIGHT);
    const index = Math.max(0, Math.min(this.scene.length - 1, Math.floor(part * this.scene.length)));
    this.group.cross(index);
    this.tell(this.marks.filter((mark) => Math.abs(this.markX(mark) - x) <= NEAR), this.x(index));
  }

  /// Shows what happened there, or when it was.
  tell(marks, x) {
    const index = this.at;
    const lines = marks.slice(-4).map((mark) => `${hhmmss(mark.at)}  ${mark.sentence}`);
    const text = lines.length ? lines.join('\n') : hhmmss(this.scene.from + index * this.scene.step);
    say(this.tip, text);
    this.tip.classList.toggle('event', lines.length > 0);
    this.tip.hidden = false;
    const half = this.tip.offsetWidth / 2;
    this.tip.style.left = `${Math.max(half, Math.min(this.width - half, x))}px`;
    return text;
  }

  key(event) {
    if (!this.scene) return;
    const end = this.scene.length - 1;
    const now = this.at ?? end;
    const indexes = this.marks.map((mark) => Math.floor((mark.at - this.scene.from) / this.scene.step));
    const to = {
      ArrowLeft: now - (event.shiftKey ? 10 : 1), ArrowRight: now + (event.shiftKey ? 10 : 1), Home: 0, End: end,
      PageUp: indexes.findLast((index) => index < now), PageDown: indexes.find((index) => index > now),
    };
    if (event.key === 'Escape') this.group.cross(null);
    if (!(event.key in to)) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(end, to[event.key] ?? now));
    this.group.cross(index);
    const here = this.marks.filter((_, place) => indexes[place] === index);
    say(this.spoken, `${this.tell(here, this.x(index))}: ${this.read()}`);
  }
}

/// Charts that share a crosshair.
export class Group {
  charts = [];

  cross(index) {
    for (const chart of this.charts) {
      chart.cross(index);
      if (index === null) chart.tip.hidden = true;
    }
    if (index !== null) this.charts.forEach((chart) => chart.plot.matches(':hover, :focus') || (chart.tip.hidden = true));
  }
}

const owners = new WeakMap();
/// Only what is in sight is drawn.
const watching = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const chart = owners.get(entry.target);
    chart.seen = entry.isIntersecting;
    if (chart.seen) chart.later();
  }
}, { rootMargin: '200px' });
/// Draws again whenever its size changes.
const sizes = new ResizeObserver((entries) => {
  for (const entry of entries) owners.get(entry.target).later();
});
