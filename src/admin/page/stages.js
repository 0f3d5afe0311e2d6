// The picture of a rollout: the stages of each tier as a staircase that the weight climbs, with the
// steps of the runbook between.

import { glide, h, s } from './dom.js';
import { and, span, weight } from './words.js';

const STATES = { done: 'done', now: 'now', next: 'to come' };

/// "backup (before rollout, Ada): run ..." in parts.
export function stepOf(text) {
  const found = /^(.*?) \((.*?)\): (.*)$/s.exec(text);
  if (!found) return { name: text, owner: '', what: '' };
  const [, name, where, what] = found;
  const [when, ...owners] = where.split(', ');
  return { name, when, owner: owners.join(', '), what };
}

/// All but what raises is a stone on the way, also an instance that is taken out or in.
const isStep = (item) => item.kind !== 'stage' && item.kind !== 'everybody';

function state(index, done) {
  return index < done ? 'done' : index === done ? 'now' : 'next';
}

/// Items that raise the same tiers one after the other stand together, with the steps between them.
function grouped(items) {
  const groups = [];
  let steps = [];
  for (const item of items) {
    if (isStep(item)) {
      steps.push(item);
      continue;
    }
    const key = item.tiers.join();
    const current = groups.at(-1);
    if (current?.key === key) current.items.push(...steps, item);
    else {
      if (steps.length) groups.push({ key: null, items: steps });
      groups.push({ key, tiers: item.tiers, items: [item] });
    }
    steps = [];
  }
  if (steps.length) groups.push({ key: null, items: steps });
  return groups;
}

/// What the picture shows of `status`: groups of items.
export function pictured(status) {
  if (status.upgrade) {
    const { items, done } = status.upgrade;
    const all = items.map((item, index) => ({ ...item, state: state(index, done) }));
    return grouped(all).map((group) => ({ ...group, level: levelOf(status, group.tiers ?? []) }));
  }
  return status.tiers.filter((tier) => tier.rollout).map((tier) => {
    const { plan, rung } = tier.rollout;
    const stages = plan.map((stage, index) => ({
      kind: 'stage', tiers: [tier.name], weight: stage.weight, state: state(index + 1, rung),
      text: `${tier.name}: ${weight(stage.weight)} for ${span(stage.bake / 1000)}`,
    }));
    const everybody = { kind: 'everybody', tiers: [tier.name], text: `${tier.name}: everybody`, state: 'next' };
    return { key: tier.name, tiers: [tier.name], items: [...stages, everybody], level: levelOf(status, [tier.name]) };
  });
}

function levelOf(status, tiers) {
  return Math.max(0, ...status.tiers.filter((tier) => tiers.includes(tier.name)).map((tier) => tier.weight));
}

/// How far the stage that it is at has baked: 0 to 1.
function baked(status, item) {
  const parts = item.tiers.map((name) => status.tiers.find((tier) => tier.name === name)?.rollout?.report)
    .filter(Boolean).map((report) => (report.bake ? report.soak / report.bake : 1));
  return parts.length ? Math.max(0, Math.min(1, ...parts)) : 0;
}

function stage(item, status) {
  const target = item.kind === 'everybody' ? 10_000 : item.weight;
  const tank = h('span', { class: 'tank' }, h('span', { class: 'water' }));
  tank.style.height = `calc(max(4px, var(--stair) * ${target / 10_000}))`;
  const label = item.kind === 'everybody' ? 'all' : weight(target).replace(' ', '\u2009');
  const bake = h('span', { class: 'bake' }, h('i'));
  if (item.state === 'now') bake.firstChild.style.width = `${100 * baked(status, item)}%`;
  return h('li', { class: `stage ${item.state}`, title: item.text },
    h('span', { class: 'shaft', 'aria-hidden': 'true' }, h('span', { class: 'label' }, label), tank), bake,
    h('span', { class: 'unseen' }, `${item.text}, ${STATES[item.state]}`));
}

const SIGNS = {
  done: 'M3 8.5 6.5 12 13 4.5',
  now: 'M5 3.5 12 8 5 12.5Z',
  next: '',
};

function step(item) {
  const { name, owner } = stepOf(item.text);
  const sign = s('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d: SIGNS[item.state] }));
  return h('li', { class: `step ${item.state}`, title: item.text },
    h('span', { class: 'stone' }, sign),
    h('span', { class: 'name', 'aria-hidden': 'true' }, name, owner ? h('small', {}, owner) : null),
    h('span', { class: 'unseen' }, `step ${item.text}, ${STATES[item.state]}`));
}

function group(each, status) {
  const items = each.items.map((item) => (isStep(item) ? step(item) : stage(item, status)));
  const list = h('ol', { class: 'stairs' }, ...items);
  if (each.key === null) return h('div', { class: 'group steps' }, h('h3', {}, '\u00a0'), list);
  const box = h('div', { class: 'group' }, h('h3', {}, and(each.tiers)), list);
  box.style.flexGrow = String(each.items.length);
  if (each.level > 0) {
    const level = h('span', { class: 'level' });
    glide(level, `level ${each.key}`, 'bottom', `calc(var(--floor) + var(--stair) * ${each.level / 10_000})`);
    list.append(h('li', { 'aria-hidden': 'true' }, level));
  }
  return box;
}

/// The picture, and the same as a list in words.
export function picture(groups, status) {
  if (!groups.length) return [];
  const boxes = groups.map((each) => group(each, status));
  const lines = groups.flatMap((each) => each.items).map((item) =>
    h('li', { class: item.state }, h('b', {}, STATES[item.state]), ` ${item.text}`));
  const words = h('details', { class: 'words' },
    h('summary', {}, `The ${lines.length === 1 ? 'item' : `${lines.length} items`} in words`), h('ol', {}, ...lines));
  return [h('div', { class: 'picture' }, ...boxes), words];
}
