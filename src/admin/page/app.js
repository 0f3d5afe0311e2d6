// The page: how things stand, kept up to date, and orders. See docs/page.md.

import * as api from './api.js';
import { byId, fill, h, prose, say, show } from './dom.js';
import { History } from './history.js';
import { button, logIn, personButtons, state } from './orders.js';
import { pictured, picture, stepOf } from './stages.js';
import { remarksOf, SharedCard, TierCard } from './tier.js';
import { and, hhmmss, moment, span, weight } from './words.js';

/// Records of the journal that stay on the page.
const RECORDS_MAX = 300;
/// How often a span whose points are no 5 s is asked for again.
const AGAIN_MS = 60_000;

const cards = new Map();
const shared = new SharedCard();
const orders = ['rollback', 'pause', 'advance', 'promote', 'start', 'maintenance'].map((order) => button(order));
let history = null;
let span_ = '15m';
let quantile = 'p95';
let latest = 0;
let skew = 0;
/// How the last rollout ended, in a sentence.
let ended = '';
let connection = { state: 'wait' };

const now = () => Date.now() + skew;

// --- how things stand

function headline(status) {
  const { upgrade } = status;
  const running = status.tiers.filter((tier) => tier.rollout);
  const moves = running.map((tier) => `${tier.name}: ${weight(tier.weight)} on ${tier.rollout.release}`);
  if (upgrade) {
    const item = upgrade.items[upgrade.done];
    if (upgrade.goes_back) return 'Going back';
    if (!item) return 'Nearly done';
    return moves.length ? and(moves) : `Step ${stepOf(item.text).name}`;
  }
  if (running.length) return and(moves);
  const versions = [...new Set(status.tiers.map((tier) => tier.stable))];
  return versions.length === 1 ? `${versions[0]} serves everybody`
    : and(status.tiers.map((tier) => `${tier.name}: ${tier.stable}`));
}

function eyebrow(status) {
  const { upgrade } = status;
  if (upgrade) {
    const name = upgrade.name ? ` · ${upgrade.name}` : '';
    return `Rollout ${upgrade.id}${name} · ${upgrade.done} of ${upgrade.items.length} done`;
  }
  const running = status.tiers.filter((tier) => tier.rollout);
  if (!running.length) return 'No rollout is open';
  return running.map((tier) => `Rollout ${tier.rollout.id} in ${tier.name}`).join(' · ');
}

/// What is said once about the rollout: pairs of a name and an element or text.
function factsOf(status) {
  const { upgrade } = status;
  const facts = [];
  const running = status.tiers.filter((tier) => tier.rollout);
  if (upgrade) {
    const item = upgrade.items[upgrade.done];
    if (item) {
      const { name, owner, what } = item.kind === 'step' ? stepOf(item.text) : { name: item.text };
      facts.push(['Now', what ? `${name}: ${what}` : name]);
      if (owner) facts.push(['Whose', owner]);
    }
    // What a person must say stands above, with its buttons.
    if (!upgrade.needs_person) facts.push(['Waits for', ...prose(upgrade.waits_for ?? 'nothing: it goes on at once')]);
    facts.push(['Here for', since(upgrade.entered)]);
    if (upgrade.decide_by) facts.push(['Decide by', until(upgrade.decide_by, upgrade.decide_by_said)]);
  }
  for (const tier of running) {
    const { report, paused, plan, rung } = tier.rollout;
    const where = running.length > 1 || upgrade ? ` ${tier.name}` : '';
    if (!upgrade) facts.push([`Stage${where}`, `${rung} of ${plan.length}, for `, since(tier.rollout.entered)]);
    if (report && !paused) facts.push([`Time in this stage${where ? `,${where}` : ''}`, ...baking(report, status)]);
    if (!upgrade) facts.push([`Waits for${where}`, paused ? 'the end of the pause' : `the judge: ${report?.verdict.reason ?? ''}`]);
  }
  if (!upgrade && !running.length && ended) facts.push(['The last one', ...prose(ended)]);
  for (const tier of status.tiers.filter((each) => each.closed?.until)) {
    facts.push([`${tier.name} opens`, until(tier.closed.until, moment(tier.closed.until, now()))]);
  }
  return facts;
}

/// Time of a stage is observed time: it goes on with each status, and between two by the clock.
function baking({ soak, bake, eta_seconds: eta }, { at }) {
  if (soak < bake) return ['baked ', until(at + (bake - soak) * 1000, `${span(bake)} in all`)];
  if (eta === null || eta === undefined) return ['baked; no telling yet when it is proven'];
  return ['baked; proven ', until(at + eta * 1000, 'at this pace')];
}

const since = (at) => h('time', { data: { since: at } });
const until = (at, said) => h('span', {}, h('time', { data: { until: at } }), said ? ` (${said})` : '');

/// Counts every time on the page up or down.
function tick() {
  for (const element of document.querySelectorAll('time[data-since]')) {
    say(element, span((now() - element.dataset.since) / 1000));
  }
  for (const element of document.querySelectorAll('time[data-until]')) {
    const left = (element.dataset.until - now()) / 1000;
    say(element, left > 0 ? `in ${span(left)}` : 'now');
  }
  live();
}

function render() {
  const { status } = state;
  if (!status) return;
  show(byId('main'), true);
  show(byId('gate'), false);
  document.title = `${status.upgrade?.needs_person ? '! ' : ''}${headline(status)} – Weir`;
  say(byId('eyebrow'), eyebrow(status));
  say(byId('headline'), headline(status));
  byId('night').classList.toggle('back', status.upgrade?.goes_back === true);
  orders.forEach((each) => each.update());
  person(status);
  const rough = (key, value) => (['soak', 'elapsed'].includes(key) ? Math.round(value / 5) : value);
  fill(byId('facts'), JSON.stringify([status.upgrade, ended, status.tiers.map((tier) => [tier.rollout, tier.closed])], rough),
    () => factsOf(status).map(([name, ...what]) => h('div', {}, h('dt', {}, name), h('dd', {}, ...what))));
  const groups = pictured(status);
  const bakes = status.tiers.map((tier) => Math.round(tier.rollout?.report?.soak ?? 0));
  const wordsOpen = byId('stages').querySelector('details')?.open;
  fill(byId('stages'), [groups, bakes], () => picture(groups, status));
  if (wordsOpen) byId('stages').querySelector('details')?.setAttribute('open', '');
  const output = status.upgrade?.output ?? [];
  show(byId('output'), output.length > 0);
  say(byId('output'), output.join('\n'));
  const remarks = remarksOf(status);
  show(byId('remarks'), remarks.length > 0);
  fill(byId('remarks'), remarks, () => remarks.map(({ where, text, bad }) =>
    h('li', { class: bad ? 'bad' : '' }, where ? h('b', {}, where) : null, h('span', {}, ...prose(text)))));
  tiers(status);
  say(byId('foot'), `Weir ${status.weir}, since ${moment(status.started, now())}`
    + `${status.journal ? ` · journal ${status.journal}` : ''}`);
  tick();
}

/// What only a person can say, with the buttons that say it.
function person({ upgrade }) {
  const box = byId('person');
  const needed = upgrade?.needs_person === true;
  show(box, needed);
  fill(box, [needed && upgrade.waits_for, state.me?.role], () => (needed ? [
    h('p', {}, h('b', {}, 'Waits for a person'), h('span', {}, ...prose(upgrade.waits_for.replace(/^a person: /, '')))),
    h('div', { class: 'person-buttons' }, ...personButtons(upgrade)),
  ] : []));
}

function tiers(status) {
  const names = status.tiers.map((tier) => tier.name);
  for (const [name, card] of cards) {
    if (!names.includes(name)) {
      card.element.remove();
      cards.delete(name);
    }
  }
  for (const tier of status.tiers) {
    let card = cards.get(tier.name);
    if (!card) {
      card = new TierCard(tier.name);
      cards.set(tier.name, card);
      byId('tiers').insertBefore(card.element, shared.element);
      if (history) card.curves(history, quantile);
    }
    const before = JSON.stringify([card.tier?.rollout?.release, card.tier?.stable, card.tier?.previous]);
    card.update(tier, now());
    if (before !== JSON.stringify([tier.rollout?.release, tier.stable, tier.previous])) card.draw();
  }
  arrange(status);
}

/// Tiers with an open rollout come first, unless that would move what somebody is at.
function arrange({ tiers }) {
  const wanted = [...tiers.filter((tier) => tier.rollout), ...tiers.filter((tier) => !tier.rollout)];
  const elements = wanted.map((tier) => cards.get(tier.name).element);
  const box = byId('tiers');
  if (elements.every((element, index) => box.children[index] === element)) return;
  if (box.contains(document.activeElement) || box.querySelector(':hover')) return;
  box.prepend(...elements);
}

// --- the curves

function draw() {
  for (const card of cards.values()) card.curves(history, quantile);
  if (state.status) shared.draw(history, state.status.tiers);
}

async function curves() {
  const wanted = span_;
  try {
    const answer = await api.history(wanted);
    if (wanted !== span_) return;
    history = new History(wanted, answer);
    show(byId('curves-hint'), true);
    byId('curves-hint').classList.remove('bad');
    draw();
  } catch (trouble) {
    byId('curves-hint').classList.add('bad');
    say(byId('curves-hint'), `No curves: ${trouble.message}`);
  }
}

function point(data) {
  if (!history) return;
  if (history.take(data)) draw();
  else if (Date.now() - (history.asked ?? 0) > AGAIN_MS) {
    history.asked = Date.now();
    curves();
  }
}

// --- the journal

const LOUD = /^(rolled_back|receding|turned_back|froze|held|overdue|interrupted|decision_nears|decision_passed)$/;

function record({ seq, at, sentence, by, change }) {
  const list = byId('journal');
  if (seq <= latest) return;
  latest = seq;
  const kind = typeof change === 'string' ? change : Object.keys(change ?? {})[0] ?? '';
  // Of tiers that went back together the one that failed tells why.
  if (/^(promoted|rolled_back)$/.test(kind) && !sentence.includes(': together with ')) ended = sentence;
  const item = h('li', { data: { kind, seq }, class: LOUD.test(kind) ? 'loud' : kind === 'promoted' ? 'good' : '' },
    h('time', { dateTime: new Date(at).toISOString(), title: new Date(at).toString() }, moment(at, now())),
    h('p', {}, ...prose(sentence)), by && by !== 'weir' ? h('small', {}, by) : null);
  list.prepend(item);
  while (list.children.length > RECORDS_MAX) list.lastChild.remove();
  show(byId('journal-none'), false);
}

/// What was written since; all of it where the journal is another one.
async function journal() {
  const answer = await api.log(latest || undefined);
  if (answer.latest < latest) {
    latest = 0;
    byId('journal').replaceChildren();
    return journal();
  }
  answer.records.forEach(record);
  show(byId('journal-none'), byId('journal').children.length === 0);
}

// --- the connection

function live() {
  const element = byId('live');
  const age = state.status ? (now() - state.status.at) / 1000 : 0;
  const last = state.status ? ` What is shown is of ${hhmmss(state.status.at)}, ${span(age)} ago.` : '';
  const { state: how, why, again } = connection;
  element.dataset.state = how;
  const words = {
    wait: 'Connecting …', out: 'Not logged in', live: 'Live', stale: `Silent for ${span(age)}`, lost: 'Connection lost',
  };
  say(byId('live-words'), words[how]);
  const broken = how === 'lost' || how === 'stale';
  document.body.classList.toggle('old', broken);
  show(byId('lost'), broken);
  if (how === 'stale') say(byId('lost'), `Nothing was heard of Weir for a while.${last}`);
  if (how === 'lost') {
    const rest = Math.max(0, Math.ceil((again - Date.now()) / 1000));
    // Read aloud once, not each second.
    const text = `No connection: ${why}. Trying again${rest > 1 ? ` in ${rest} s` : ' now'}.${last}`;
    byId('lost').setAttribute('aria-live', byId('lost').textContent ? 'off' : 'assertive');
    say(byId('lost'), text);
  } else if (how === 'live') say(byId('lost'), '');
}

const stream = new api.Stream({
  async opened() {
    take(await api.status());
    // Asked only where somebody has logged in: that there is nobody is no news.
    if (entered()) state.me = await api.whoami();
    if (!state.me) entered(false);
    who();
    await journal();
    await curves();
    return latest;
  },
  status: take,
  record,
  point,
  state(how, more = {}) {
    const changed = connection.state !== how;
    connection = { state: how, ...more };
    if (changed || how === 'lost') live();
  },
  denied() {
    state.status = null;
    state.me = null;
    connection = { state: 'out' };
    show(byId('main'), false);
    show(byId('gate'), true);
    who();
    live();
    byId('gate-token').focus();
  },
});

function take(status) {
  state.status = status;
  skew = status.at - Date.now();
  render();
}

// --- who looks at it

/// Whether somebody has logged in with this browser. The session itself is a cookie that no script can read,
/// and the token is kept nowhere.
function entered(yes) {
  const KEY = 'weir-entered';
  try {
    if (yes === true) localStorage.setItem(KEY, '1');
    if (yes === false) localStorage.removeItem(KEY);
    return localStorage.getItem(KEY) !== null;
  } catch {
    return true; // storage is forbidden: ask
  }
}

function who() {
  const { me } = state;
  if (me) entered(true);
  show(byId('who'), Boolean(me));
  fill(byId('who'), me, () => (me ? [h('b', {}, me.name), ` ${me.role === me.name ? '' : me.role}`] : []));
  show(byId('login'), !me && !byId('main').hidden);
  show(byId('orders'), !byId('main').hidden);
  show(byId('logout'), Boolean(me));
}

state.changed = () => {
  who();
  render();
};

byId('login').addEventListener('click', () => logIn());

byId('logout').addEventListener('click', async () => {
  try {
    await api.logout();
  } finally {
    state.me = null;
    state.changed();
    stream.again();
  }
});

byId('gate-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const input = byId('gate-token');
  try {
    state.me = await api.login(input.value.trim());
    say(byId('gate-wrong'), '');
    stream.again();
  } catch (trouble) {
    say(byId('gate-wrong'), trouble.message);
    input.select();
  } finally {
    if (state.me) input.value = '';
  }
});

byId('spans').addEventListener('change', (event) => {
  span_ = event.target.value;
  curves();
});
byId('latencies').addEventListener('change', (event) => {
  quantile = event.target.value;
  if (history) draw();
});
document.addEventListener('weir-theme', () => history && draw());
document.addEventListener('click', (event) => {
  for (const menu of document.querySelectorAll('details.menu[open]')) {
    if (!menu.contains(event.target) || event.target.closest('.menu-list button')) menu.open = false;
  }
});
document.addEventListener('keydown', (event) => {
  const menu = event.key === 'Escape' && document.activeElement?.closest('details.menu[open]');
  if (menu) {
    menu.open = false;
    menu.querySelector('summary').focus();
  }
});

byId('tiers').append(shared.element);
byId('orders').append(...orders.flatMap(({ element, reason }) => [element, reason]));
setInterval(tick, 1000);
stream.again();
