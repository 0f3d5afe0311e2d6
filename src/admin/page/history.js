// The curves: what /api/v1/history says, kept up to date by the points of the stream.

/// Points of a whole span.
const POINTS = { '15m': 180, '1h': 720, '24h': 1440 };
/// Points that are shown at least, while there are few.
const POINTS_MIN = 60;
const LISTS = {
  tiers: (entry) => entry.tier,
  caches: (entry) => `${entry.cache}\n${entry.version}`,
  http_caches: (entry) => `${entry.tier}\n${entry.version}`,
  jobs: (entry) => `${entry.cache}\n${entry.version}`,
};

/// Lists of entries that have arrays of numbers themselves.
const NESTED = ['versions', 'evidence'];

/// Applies `change` to every array of numbers of an entry.
function everySeries(entry, change) {
  for (const [name, value] of Object.entries(entry)) {
    if (NESTED.includes(name)) value.forEach((inner) => everySeries(inner, change));
    else if (Array.isArray(value)) entry[name] = change(value);
  }
}

/// The same entry with `length` times nothing.
function empty(entry, length) {
  const copy = structuredClone(entry);
  everySeries(copy, () => new Array(length).fill(null));
  return copy;
}

export class History {
  constructor(span, answer) {
    this.span = span;
    Object.assign(this, answer);
    this.step = answer.step_seconds * 1000;
    const known = answer.tiers[0]?.weight.length ?? 0;
    this.length = Math.max(known, POINTS_MIN);
    /// Points in front of which nothing is known, since the program was not there: they go first.
    this.before = this.length - known;
    this.from -= this.before * this.step;
    this.every((values) => (values.unshift(...new Array(this.before).fill(null)), values));
  }

  /// Applies `change` to every array of numbers.
  every(change) {
    for (const list of Object.keys(LISTS)) this[list].forEach((entry) => everySeries(entry, change));
  }

  /// Start of a point.
  at(index) {
    return this.from + index * this.step;
  }

  end() {
    return this.from + this.length * this.step;
  }

  /// Takes a point of 5 s over; false where the whole must be asked for again.
  take(point) {
    if (point.step_seconds * 1000 !== this.step) return false;
    const index = Math.round((point.from - this.from) / this.step);
    if (index < 0 || index >= this.length + POINTS_MIN) return false;
    const more = Math.max(0, index - this.length + 1);
    const grown = Math.min(Math.max(0, more - this.before), POINTS[this.span] - this.length);
    const shift = more - grown;
    this.before = Math.max(0, this.before - shift);
    this.length += grown;
    this.every((values) => this.moved(values, shift));
    for (const [list, key] of Object.entries(LISTS)) {
      for (const entry of point[list] ?? []) this.place(this[list], key, entry, index - shift);
    }
    this.from += shift * this.step;
    const known = new Set(this.marks.map((mark) => mark.seq));
    this.marks.push(...(point.marks ?? []).filter((mark) => !known.has(mark.seq)));
    this.marks = this.marks.filter((mark) => mark.at >= this.from);
    return true;
  }

  moved(values, shift) {
    values.splice(0, shift);
    while (values.length < this.length) values.push(null);
    return values;
  }

  place(list, key, entry, index) {
    let mine = list.find((other) => key(other) === key(entry));
    if (!mine) list.push(mine = empty(entry, this.length));
    this.copy(mine, entry, index);
  }

  copy(mine, entry, index) {
    for (const [name, value] of Object.entries(entry)) {
      if (!Array.isArray(value)) continue;
      if (!NESTED.includes(name)) {
        (mine[name] ??= new Array(this.length).fill(null))[index] = value[0] ?? null;
      } else {
        for (const inner of value) {
          const named = (other) => other.version === inner.version && other.metric === inner.metric;
          let own = (mine[name] ??= []).find(named);
          if (!own) mine[name].push(own = empty(inner, this.length));
          this.copy(own, inner, index);
        }
      }
    }
  }

  tier(name) {
    return this.tiers.find((tier) => tier.tier === name);
  }

  /// What happened in the tier, or everywhere.
  marksOf(tier) {
    return this.marks.filter((mark) => !mark.tier || mark.tier === tier);
  }
}

/// Sums of the last `width` points at each point; null where nothing is known of any.
export function rolling(values, width) {
  const sums = new Array(values.length);
  let sum = 0;
  let known = 0;
  for (let index = 0; index < values.length; index++) {
    const enter = values[index];
    const leave = index >= width ? values[index - width] : null;
    if (enter !== null && enter !== undefined) (sum += enter, known++);
    if (leave !== null && leave !== undefined) (sum -= leave, known--);
    sums[index] = known ? sum : null;
  }
  return sums;
}

/// `part` of `whole` at each point, over `width` points; null without any.
export function share(part, whole, width) {
  const parts = rolling(part, width);
  const wholes = rolling(whole, width);
  return wholes.map((all, index) => (all > 0 && whole[index] !== null ? (parts[index] ?? 0) / all : null));
}

/// The last value that is known, of the last `within` points.
export function last(values, within = 3) {
  for (let index = values.length - 1; index >= Math.max(0, values.length - within); index--) {
    if (values[index] !== null && values[index] !== undefined) return values[index];
  }
  return null;
}
