// One tier: both versions side by side in numbers and curves, the evidence, and what it is about.

import { Chart, Group } from './chart.js';
import { fill, glide, h, say, show, swatch } from './dom.js';
import { last, rolling, share } from './history.js';
import { button } from './orders.js';
import { latency, moment, odds, percent, plural, rate, short, span, weight } from './words.js';

/// Points that a share is taken over: half a minute, a minute, five.
const WIDTHS = { '15m': 6, '1h': 12, '24h': 5 };
const OVER = { '15m': 'over 30 s', '1h': 'over 1 min', '24h': 'over 5 min' };
const NUMBERS = 12; // points of the numbers in the table: a minute of 5 s

/// Which two versions are compared, and how each is drawn. A version keeps its look over a promotion.
export function pair(tier) {
  const fallen = tier.releases.filter((release) => release.fate?.outcome === 'rolled_back')
    .sort((one, other) => other.fate.at - one.fate.at)[0];
  if (tier.rollout) return { older: tier.stable, newer: tier.rollout.release };
  if (tier.previous) return { older: tier.previous, newer: tier.stable };
  return { older: tier.stable, newer: fallen && fallen.version !== tier.stable ? fallen.version : null };
}

export function styleOf({ older, newer }, version) {
  return version === newer ? 'canary' : version === older ? 'stable' : 'other';
}

const HEALTH = { healthy: '✓', unhealthy: '✕', ejected: '✕', unknown: '?' };

/// An instance of a tier that is moved one at a time.
function instance({ name, address, version, health, error }, which) {
  const ill = health === 'unhealthy' || health === 'ejected';
  return h('li', { data: { instance: name } }, swatch(version ? styleOf(which, version) : 'other'), h('b', {}, name),
    version ? ` ${version}` : ' is being moved',
    version && ill ? h('span', { class: 'bad' }, `${HEALTH[health]} ${health}`) : null,
    version && ill && error ? h('small', { class: 'bad' }, `${address}: ${error}`) : null);
}

export class TierCard {
  constructor(name) {
    this.name = name;
    this.group = new Group();
    this.buttons = ['rollback', 'pause', 'advance', 'promote', 'start', 'maintenance'].map((order) => button(order, name));
    this.listen = h('span', { class: 'listen' });
    this.chips = h('span', { class: 'chips' });
    this.verdict = h('p', { class: 'verdict', hidden: true });
    this.evidence = h('div', { class: 'evidence' });
    this.table = h('table', { class: 'numbers' });
    this.releases = h('ul', { class: 'releases' });
    const per = (title, more) => new Chart({ title, group: this.group, ...more });
    this.charts = {
      requests: per('Requests', { format: rate, floor: 1, hint: 'judged attempts per second' }),
      errors: per('Errors', { format: percent, floor: 0.01, cap: 1, hint: 'share of attempts that failed' }),
      latency: per('Latency', { format: latency, floor: 1000, hint: 'to the head of the answer' }),
      odds: per('Evidence against', {
        format: odds, floor: Math.log(1000), hint: 'odds, on a scale of logarithms',
        ticks: (top) => Array.from({ length: 1 + Math.floor(top / Math.log(10)) }, (_, index) => index * Math.log(10)),
      }),
      weight: per('Canary’s share of users', { format: weight, floor: 1000, cap: 10_000 }),
      hits: per('Cached answers', { format: percent, floor: 1, cap: 1, hint: 'share of lookups that hit' }),
    };
    this.menu = h('details', { class: 'menu' }, h('summary', { class: 'button' }, `Orders for ${name}`),
      h('div', { class: 'menu-list' }, ...this.buttons.flatMap(({ element, reason }) => [element, reason])));
    this.element = h('section', { class: 'tier', 'aria-label': `Tier ${name}`, data: { tier: name } },
      h('header', {}, h('h3', {}, name), this.listen, this.chips, this.menu), this.verdict,
      h('div', { class: 'tier-body' },
        h('div', { class: 'tier-words' }, this.table, this.evidence, this.releases),
        h('div', { class: 'charts' }, ...Object.values(this.charts).map((chart) => chart.element))));
  }

  update(tier, now) {
    this.tier = tier;
    say(this.listen, tier.listen);
    this.buttons.forEach((each) => each.update());
    fill(this.chips, [tier.rollout?.release, tier.rollout?.paused, tier.weight, tier.closed, tier.stable], () => this.chipsOf(tier, now));
    const verdict = tier.rollout?.report?.verdict;
    show(this.verdict, Boolean(verdict));
    if (verdict) {
      say(this.verdict, verdict.reason);
      this.verdict.dataset.kind = verdict.kind;
    }
    fill(this.evidence, tier.rollout?.evidence ?? [], () => (tier.rollout?.evidence ?? []).map((each) => evidence(each, this.name)));
    this.numbers();
    const signals = tier.signals ?? [];
    const instances = (tier.instances ?? []).map(({ connections: _, ...rest }) => rest);
    fill(this.releases, [tier.releases.map(({ in_flight: _, requests: __, errors: ___, ...rest }) => ({
      ...rest, upstreams: rest.upstreams.map((upstream) => ({ ...upstream, since_seconds: 0 })),
    })), signals, instances], () => [...tier.releases.map((release) => this.release(release, now)),
      ...instances.map((each) => instance(each, pair(tier))), ...signals.map(signal)]);
  }

  chipsOf(tier, now) {
    const chips = [];
    const chip = (text, look) => chips.push(h('span', { class: `chip ${look}` }, text));
    if (tier.rollout) {
      const { release, attempt, paused } = tier.rollout;
      chip(`${weight(tier.weight)} on ${release}${attempt > 1 ? `, attempt ${attempt}` : ''}`, 'canary');
      if (paused) chip('paused', 'strong');
    } else chip(`everybody on ${tier.stable}`, 'stable');
    if (tier.closed) {
      const { purpose, by, until, waiting, answered } = tier.closed;
      const end = until ? `until ${moment(until, now)}` : 'until ordered off';
      const counts = purpose === 'hold' ? `${plural(waiting, 'request')} wait` : `${answered} answered with 503`;
      chip(`${purpose === 'hold' ? 'held' : 'closed for maintenance'} by ${by}, ${end}; ${counts}`, 'strong');
    }
    return chips;
  }

  release(release, now) {
    const style = styleOf(pair(this.tier), release.version);
    const well = release.upstreams.filter((upstream) => upstream.health === 'healthy').length;
    const fate = release.fate && release.fate.outcome !== 'started' && release.role !== 'canary'
      ? `${release.fate.outcome.replace('_', ' ')} ${moment(release.fate.at, now)}` : '';
    const ill = release.upstreams.filter((upstream) => upstream.health !== 'healthy');
    const whole = well === release.upstreams.length;
    const nowhere = release.upstreams.length === 0 && this.tier.instances?.length > 0;
    return h('li', {}, swatch(style), h('b', {}, release.version), ` ${release.role}`,
      nowhere ? h('span', {}, 'no instance') : h('span', { class: whole ? 'good' : 'bad' },
        `${whole ? '✓' : '!'} ${well} of ${release.upstreams.length} healthy`),
      fate ? h('small', {}, fate) : null,
      ...ill.map((upstream) => h('small', { class: 'bad' }, `${HEALTH[upstream.health] ?? '?'} ${upstream.address} ${upstream.health}`
        + `${upstream.error ? `: ${upstream.error}` : ''}`)));
  }

  curves(history, quantile) {
    this.history = history;
    this.quantile = quantile;
    this.draw();
  }

  /// The lines of every chart from what is known now.
  draw() {
    const { history, tier, charts } = this;
    const known = history?.tier(this.name);
    if (!known || !tier) return;
    const which = pair(tier);
    const width = WIDTHS[history.span];
    const scene = { from: history.from, step: history.step, length: history.length, marks: history.marksOf(this.name) };
    const versions = known.versions.filter((version) => styleOf(which, version.version) !== 'other'
      || version.requests.some((value) => value > 0))
      .sort((one, other) => (one.version === which.newer) - (other.version === which.newer));
    const lines = (make) => versions.map((version) => ({
      name: version.version, style: styleOf(which, version.version), values: make(version),
    }));
    const perSecond = (values) => values.map((value) => (value === null ? null : (value * 1000) / history.step));
    charts.requests.set(lines((version) => perSecond(version.requests)), scene);
    charts.errors.title = `Errors ${OVER[history.span]}`;
    charts.errors.set(lines((version) => share(version.errors, version.requests, width)), scene);
    charts.latency.title = `Latency ${this.quantile}`;
    charts.latency.set(lines((version) => version[this.quantile]), scene);
    show(charts.weight.element, known.weight.some((value) => value > 0));
    charts.weight.set([{ name: 'canary', style: 'canary', values: known.weight, stepped: true }], scene);
    this.drawOdds(known, scene);
    const hits = history.http_caches.filter((cache) => cache.tier === this.name);
    show(charts.hits.element, hits.length > 0);
    charts.hits.set(versions.flatMap(({ version }) => hits.filter((cache) => cache.version === version).map((cache) => ({
      name: version, style: styleOf(which, version), values: hitRatio(cache, width),
    }))), scene);
    for (const chart of [charts.errors, charts.latency]) say(chart.element.querySelector('h4'), chart.title);
    this.numbers();
  }

  drawOdds(known, scene) {
    const styles = ['first', 'second', 'third'];
    const lines = known.evidence.slice(0, 3).map((evidence, index) => ({
      name: evidence.metric, style: styles[index], values: evidence.log_odds.map((value) => (value === null ? null : Math.max(0, value))),
    }));
    const limit = known.evidence[0]?.log_odds_limit;
    if (limit) lines.push({ name: `${known.evidence[0].metric} roll back at`, style: 'limit', values: limit });
    show(this.charts.odds.element, lines.length > 0);
    this.charts.odds.set(lines, scene);
  }

  /// The last minute of both versions, side by side.
  numbers() {
    const { history, tier } = this;
    if (!tier) return;
    const which = pair(tier);
    const versions = [which.older, which.newer].filter(Boolean);
    const facts = versions.map((version) => this.factsOf(version, history));
    const rows = [
      ['Users', (fact) => fact.users], ['Requests', (fact) => fact.requests], ['Errors', (fact) => fact.errors],
      ['Latency p50', (fact) => fact.p50], ['p95', (fact) => fact.p95], ['p99', (fact) => fact.p99],
      ['Cache hits', (fact) => fact.hits], ['In flight', (fact) => fact.flight], ['WebSockets', (fact) => fact.sockets],
    ].filter(([, read]) => facts.some((fact) => read(fact)));
    fill(this.table, [versions, rows.map(([name, read]) => [name, ...facts.map(read)])], () => [
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Last minute'), ...versions.map((version) =>
        h('th', { scope: 'col', class: styleOf(which, version) }, swatch(styleOf(which, version)), version,
          h('small', {}, this.roleOf(version)))))),
      h('tbody', {}, ...rows.map(([name, read]) => h('tr', {}, h('th', { scope: 'row' }, name),
        ...facts.map((fact) => h('td', {}, read(fact) || '–'))))),
    ]);
  }

  roleOf(version) {
    return this.tier.releases.find((release) => release.version === version)?.role ?? '';
  }

  factsOf(version, history) {
    const { tier } = this;
    const release = tier.releases.find((each) => each.version === version);
    const users = version === tier.rollout?.release ? tier.weight : version === tier.stable ? 10_000 - tier.weight : 0;
    const known = history?.tier(this.name)?.versions.find((each) => each.version === version);
    const facts = {
      users: weight(users), flight: release ? short(release.in_flight) : '',
      sockets: release?.upgraded_open ? short(release.upgraded_open) : '',
    };
    if (!known) return facts;
    const points = history.step === 5000 ? NUMBERS : 1;
    const sum = (values) => rolling(values, points).at(-1) ?? rolling(values, points).at(-2) ?? 0;
    const requests = sum(known.requests);
    facts.requests = rate((requests * 1000) / (points * history.step));
    facts.errors = requests ? percent(sum(known.errors) / requests) : '';
    for (const name of ['p50', 'p95', 'p99']) {
      const value = last(known[name], points);
      facts[name] = value === null ? '' : latency(value);
    }
    const cache = history.http_caches.find((each) => each.tier === this.name && each.version === version);
    const ratio = cache && last(hitRatio(cache, points), points);
    facts.hits = ratio === null || ratio === undefined ? '' : percent(ratio);
    return facts;
  }
}

export function hitRatio({ hits, misses }, width) {
  return share(hits, hits.map((value, index) => (value === null && misses[index] === null ? null
    : (value ?? 0) + (misses[index] ?? 0))), width);
}

/// One metric between "rolled back" and "proven", and both in words.
function evidence(metric, tier) {
  const against = h('i', { class: 'against' });
  const proven = h('i', { class: 'proven' });
  glide(against, `against ${tier} ${metric.metric}`, 'width', `${100 * metric.against}%`);
  glide(proven, `proven ${tier} ${metric.metric}`, 'width', `${100 * metric.proven}%`);
  const needed = metric.needed_for_advance;
  return h('div', { class: 'metric' }, h('h4', {}, metric.metric),
    h('div', { class: 'scale', 'aria-hidden': 'true' }, h('span', { class: 'half left' }, against),
      h('span', { class: 'half right' }, needed ? proven : null)),
    h('p', { class: 'ways' }, h('span', {}, `${metric.against >= 1 ? '✕' : '←'} ${metric.words_against}`),
      h('span', {}, `${metric.words_for} ${!needed ? '' : metric.proven >= 1 ? '✓' : '→'}`)));
}

/// What is heard of a version from outside.
function signal({ name, version, total, bad, number, blind }) {
  const said = number === null || number === undefined ? `${bad} bad of ${total}` : short(number);
  return h('li', { class: blind ? 'ill' : '' }, h('b', {}, name), ` of ${version}: ${blind ?? said}`);
}

/// Caches and jobs that belong to no tier.
export class SharedCard {
  constructor() {
    this.group = new Group();
    this.charts = new Map();
    this.grid = h('div', { class: 'charts' });
    this.element = h('section', { class: 'tier shared', 'aria-label': 'Caches and jobs', hidden: true },
      h('header', {}, h('h3', {}, 'Caches and jobs')), this.grid);
  }

  chart(key, settings) {
    let chart = this.charts.get(key);
    if (!chart) {
      chart = new Chart({ group: this.group, ...settings });
      this.charts.set(key, chart);
      this.grid.append(chart.element);
    }
    return chart;
  }

  draw(history, tiers) {
    const style = (version) => {
      const styles = tiers.map((tier) => styleOf(pair(tier), version));
      return styles.find((each) => each === 'canary') ?? styles.find((each) => each === 'stable') ?? 'other';
    };
    const width = WIDTHS[history.span];
    const scene = { from: history.from, step: history.step, length: history.length, marks: history.marks };
    const draw = (list, key, settings, make) => {
      for (const name of new Set(list.map((entry) => entry.cache))) {
        const entries = list.filter((entry) => entry.cache === name);
        this.chart(`${key} ${name}`, { ...settings, title: `${name}: ${settings.title}` }).set(
          entries.map((entry) => ({ name: entry.version, style: style(entry.version), values: make(entry) })), scene);
      }
    };
    const perSecond = (value) => (value === null ? null : (value * 1000) / history.step);
    draw(history.caches, 'hits', { title: 'hit ratio', format: percent, floor: 1, cap: 1 }, (entry) => hitRatio(entry, width));
    draw(history.jobs, 'done', { title: 'jobs', format: rate, floor: 0.5 }, (entry) => entry.processed.map(perSecond));
    draw(history.jobs, 'failed', { title: 'jobs that failed', format: percent, floor: 0.01, cap: 1 },
      (entry) => share(entry.failed, entry.processed, width));
    show(this.element, this.charts.size > 0);
  }
}

/// Sentences that an operator should know, each with where it belongs.
export function remarksOf(status) {
  const remarks = [];
  const add = (where, text, bad = false) => text && remarks.push({ where, text, bad });
  if (status.observe) add('', 'Weir only observes: verdicts are written down, nothing moves by itself.');
  add('journal', status.journal_trouble, true);
  if (!status.journal) add('journal', 'kept in memory only: gone with the process');
  for (const tier of status.tiers) {
    tier.drift.forEach((text) => add(tier.name, text, true));
    tier.remarks.forEach((text) => add(tier.name, text));
    if (tier.key_share > 0.2) {
      add(tier.name, `one client sends ${percent(tier.key_share)} of the requests: share and verdict are unreliable`);
    }
    const blind = tier.rollout?.report?.blind ?? [];
    blind.forEach((text) => add(tier.name, text, true));
  }
  for (const certificate of status.certificates) add(`certificate ${certificate.name}`, certificate.remark, true);
  for (const target of status.notifications) {
    const since = target.since ? ` for ${span((status.at - target.since) / 1000)}` : '';
    if (target.trouble) add(`notifications to ${target.name}`, `not reached${since}: ${target.trouble}`, true);
    if (target.dropped) add(`notifications to ${target.name}`, `${target.dropped} were given up`, true);
  }
  return remarks;
}

