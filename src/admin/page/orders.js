// What an operator orders: which buttons make sense now, what is asked before, and what came back.

import * as api from './api.js';
import { byId, h, say, show } from './dom.js';
import { and, hhmmss, weight } from './words.js';

/// Answers that stay on the page.
const ANSWERS_MAX = 4;
/// How long what was done stands there; what was not done stays. The journal has both.
const DONE_MS = 30_000;

/// Who is logged in, and what is known now: set by the page.
export const state = { me: null, status: null, changed: () => {} };

// --- what makes sense now: each gives the reason why not, or nothing

const scope = (tier) => (tier ? state.status.tiers.filter((each) => each.name === tier) : state.status.tiers);
const open = (tier) => scope(tier).filter((each) => each.rollout);
const waits = () => state.status.upgrade?.waits_for ?? '';

export function isPaused(tier) {
  return open(tier).some((each) => each.rollout.paused) || waits().includes('`weir resume`');
}

/// Versions that a rollout could be opened of.
export function startable(tier) {
  const roles = ['available'];
  const found = scope(tier).flatMap((each) => each.releases.filter((release) => roles.includes(release.role)));
  const versions = new Map();
  for (const { version, fate } of found) {
    const back = fate?.outcome === 'rolled_back';
    versions.set(version, { version, again: back || versions.get(version)?.again === true });
  }
  return [...versions.values()];
}

function anyOpen(tier) {
  if (open(tier).length || (!tier && state.status.upgrade)) return '';
  return tier ? `no rollout is open in ${tier}` : 'no rollout is open';
}

const REASONS = {
  start(tier) {
    if (state.status.upgrade) return 'a rollout over tiers is open';
    if (open(tier).length && (tier || open(tier).length === state.status.tiers.length)) return 'a rollout is open';
    if (!startable(tier).length) return 'no other version is in the file; add it there, then `weir reload`';
    return '';
  },
  pause(tier) {
    if (isPaused(tier)) return '';
    if (state.status.upgrade?.goes_back) return 'it goes back';
    return anyOpen(tier);
  },
  advance(tier) {
    if (state.status.upgrade?.goes_back) return 'it goes back';
    return open(tier).length ? '' : anyOpen(tier) || 'no tier has its turn now';
  },
  promote(tier) {
    return REASONS.advance(tier);
  },
  rollback(tier) {
    if (!anyOpen(tier) || scope(tier).some((each) => each.previous)) return '';
    return `${anyOpen(tier)}, and there is no version before to go back to`;
  },
  maintenance() {
    return '';
  },
};

/// Why this order cannot be given by who looks at the page; empty: it can.
export function why(order, tier) {
  if (state.me?.role === 'viewer') return `${state.me.name} is a viewer: orders need an operator`;
  return REASONS[order](tier);
}

// --- asking before

let settle = null;

/// Opens the dialog; gives the values of its fields, or null.
export function ask({ title, lines = [], fields = [], confirm, danger = false, wrong = '' }) {
  const dialog = byId('dialog');
  settle?.(null);
  return new Promise((resolve) => {
    settle = (values) => {
      settle = null;
      if (dialog.open) dialog.close();
      resolve(values);
    };
    const inputs = fields.map((field) => input(field));
    const yes = h('button', { class: `button ${danger ? 'danger' : 'strong'}`, data: { yes: '' } }, confirm);
    const form = h('form', {
      onsubmit: (event) => {
        event.preventDefault();
        settle?.(Object.fromEntries(inputs.map(({ name, read }) => [name, read()])));
      },
    },
    h('h2', { id: 'dialog-title' }, title), ...lines.map((line) => h('p', {}, line)),
    ...inputs.map(({ element }) => element), h('p', { class: 'wrong', role: 'alert' }, wrong),
    h('div', { class: 'dialog-end' },
      h('button', { type: 'button', class: 'button', onclick: () => settle?.(null) }, 'Cancel'), yes));
    dialog.replaceChildren(form);
    dialog.oncancel = () => settle?.(null);
    dialog.showModal();
    // A roll back is two presses: whoever is in a hurry finds the second under the finger.
    (fields.find((field) => field.first) ? inputs[0].element.querySelector('input') : yes).focus();
  });
}

function input({ name, label, kind = 'text', hint, options, value, changed }) {
  const id = `ask-${name}`;
  const control = kind === 'select'
    ? h('select', { id }, ...options.map(([key, text]) => h('option', { value: key }, text)))
    : h('input', { id, type: kind, autocomplete: kind === 'password' ? 'current-password' : 'off', maxLength: 500 });
  if (value !== undefined) control.value = value;
  if (changed) control.onchange = () => changed(control.value);
  const shown = hint ? h('small', { id: `${id}-hint` }, hint) : null;
  if (shown) control.setAttribute('aria-describedby', shown.id);
  const element = h('div', { class: 'field' }, h('label', { for: id }, label), control, shown);
  return { name, element, read: () => control.value.trim() };
}

const REASON = { name: 'reason', label: 'Why', hint: 'If you like; the journal keeps it.' };

// --- what comes back

/// Puts sentences where they are read aloud.
export function answer(sentences, { bad = false, more } = {}) {
  const box = byId('answers');
  const close = h('button', { type: 'button', class: 'close', 'aria-label': 'Dismiss' }, '×');
  const element = h('div', { class: `answer ${bad ? 'bad' : 'good'}`, role: bad ? 'alert' : 'status' },
    h('b', { class: 'answer-sign' }, bad ? 'Not done' : 'Done'),
    h('div', {}, ...sentences.map((sentence) => h('p', {}, sentence)), more),
    h('time', {}, hhmmss(Date.now())), close);
  close.onclick = () => element.remove();
  if (!bad) setTimeout(() => element.matches(':hover, :focus-within') || element.remove(), DONE_MS);
  box.prepend(element);
  while (box.children.length > ANSWERS_MAX) box.lastChild.remove();
}

/// Asks for the token; true once somebody is logged in.
export async function logIn() {
  let wrong = '';
  for (;;) {
    const values = await ask({
      title: 'Log in', wrong, confirm: 'Log in',
      lines: ['With the token that `weir token add NAME` has shown. This page does not keep it.'],
      fields: [{ name: 'token', label: 'Token', kind: 'password', first: true }],
    });
    if (!values) return false;
    try {
      state.me = await api.login(values.token);
      state.changed();
      return true;
    } catch (trouble) {
      wrong = trouble.message;
    }
  }
}

/// Gives the order, and shows what came back.
export async function give(order) {
  if (!state.me && !await logIn()) return;
  if (state.me.role === 'viewer') return answer([why('maintenance')], { bad: true });
  try {
    const done = await api.order(order);
    const left = done.connections_left ? [`${done.connections_left} connections are still open there`] : [];
    answer([...done.sentences, ...left]);
  } catch (trouble) {
    if (trouble.status === 401) {
      state.me = null;
      state.changed();
      if (await logIn()) return give(order);
    }
    answer([trouble.message], { bad: true, more: wayOn(order, trouble) });
  }
}

/// Past the point of no return a roll back must be said twice.
function wayOn(order, trouble) {
  if (order.order !== 'rollback' || !trouble.message.includes('past-no-return')) return null;
  return h('button', {
    type: 'button', class: 'button danger',
    onclick: async () => {
      const values = await ask({
        title: 'Roll back past the point of no return?', lines: [trouble.message], danger: true,
        confirm: 'Roll back all the same', fields: [REASON],
      });
      if (values) give({ ...order, past_no_return: true, ...because(values) });
    },
  }, 'Roll back all the same …');
}

const because = (values) => (values.reason ? { reason: values.reason } : {});

// --- the orders

/// Who goes where when `tier`, or everything, goes back.
function backWords(tier) {
  const moves = scope(tier).filter((each) => each.rollout).map((each) =>
    `${each.name}: the ${weight(each.weight)} of users on ${each.rollout.release} go to ${each.stable}`);
  if (moves.length) return moves;
  const home = scope(tier).filter((each) => each.previous);
  const lines = home.map((each) => `${each.name}: everybody goes from ${each.stable} to ${each.previous}`);
  // Without a tier it takes back one upgrade, the newest, and Weir knows which tiers that was.
  return tier || home.length < 2 ? lines : ['Of these the tiers of the newest rollout:', ...lines];
}

const RUN = {
  async start(tier) {
    const versions = startable(tier);
    const values = await ask({
      title: tier ? `Start a rollout in ${tier}?` : 'Start a rollout?', confirm: 'Start',
      lines: ['The new version gets its first share of users as the plan of the file says.'],
      fields: [{
        name: 'version', label: 'Version', kind: 'select',
        options: versions.map(({ version, again }) => [version, again ? `${version} (again: was rolled back)` : version]),
      }, REASON],
    });
    if (!values) return;
    const again = versions.find(({ version }) => version === values.version)?.again;
    return give({ order: 'start', tier, version: values.version, ...(again ? { again } : {}), ...because(values) });
  },
  pause: (tier) => give({ order: isPaused(tier) ? 'resume' : 'pause', tier }),
  async advance(tier) {
    const lines = open(tier).map((each) =>
      `${each.name}: ${each.rollout.report?.verdict.reason ?? 'nothing is known yet'}`);
    const values = await ask({
      title: 'Advance without waiting for a proof?', lines, confirm: 'Advance', fields: [REASON],
    });
    if (values) return give({ order: 'advance', tier, ...because(values) });
  },
  async promote(tier) {
    const lines = open(tier).map((each) =>
      `${each.name}: ${each.rollout.release} for everybody now, from ${weight(each.weight)}. `
      + `${each.rollout.report?.verdict.reason ?? 'Nothing is known of it yet.'}`);
    const values = await ask({
      title: 'Promote: everybody to the new version?', lines, confirm: 'Promote', fields: [REASON],
    });
    if (values) return give({ order: 'promote', tier, ...because(values) });
  },
  async rollback(tier) {
    const values = await ask({
      title: tier ? `Roll back ${tier}?` : 'Roll back everybody?', danger: true, confirm: 'Roll back',
      lines: backWords(tier), fields: [REASON],
    });
    if (!values) return;
    return give({ order: 'rollback', tier, ...because(values) });
  },
  async maintenance(tier) {
    const closed = scope(tier).filter((each) => each.closed);
    if (closed.length) {
      const order = closed.every((each) => each.closed.purpose === 'hold') ? 'hold' : 'maintenance';
      return give({ order, on: false, tier });
    }
    const values = await ask({
      title: tier ? `Close ${tier} for maintenance?` : 'Close all tiers for maintenance?', confirm: 'Close',
      danger: true, lines: ['Until it is ordered off or the time is up.'],
      fields: [
        {
          name: 'how', label: 'What users get', kind: 'select',
          options: [['maintenance', '503 and a page'], ['hold', 'no answer yet: requests wait, for a cut of seconds']],
          changed(how) {
            byId('ask-for').value = how === 'hold' ? '1m' : '30m';
            show(byId('ask-message').closest('.field'), how !== 'hold');
          },
        },
        { name: 'for', label: 'For how long', value: '30m', hint: 'Such as 30m or 2h; empty: until you end it.' },
        { name: 'message', label: 'What users are told', hint: 'If you like.' }, REASON,
      ],
    });
    if (!values) return;
    const { how, for: lasts, message } = values;
    const told = how === 'maintenance' && message ? { message } : {};
    return give({ order: how, on: true, tier, ...(lasts ? { for: lasts } : {}), ...told, ...because(values) });
  },
};

const LABELS = {
  start: () => 'Start …',
  pause: (tier) => (isPaused(tier) ? 'Resume' : 'Pause'),
  advance: () => 'Advance …',
  promote: () => 'Promote …',
  rollback: () => 'Roll back …',
  maintenance: (tier) => (scope(tier).some((each) => each.closed) ? 'Open to users' : 'Maintenance …'),
};

let numbered = 0;

/// A button that stays and follows how things stand; `update` is called after each change.
export function button(order, tier) {
  const reason = h('span', { class: 'unseen', id: `why-${++numbered}` });
  const element = h('button', {
    type: 'button', class: `button ${order === 'rollback' ? 'danger' : ''}`, data: { order, tier: tier ?? '' },
    'aria-describedby': reason.id,
    onclick: () => {
      const not = why(order, tier);
      // Not `disabled`: who comes by keyboard must find it, and hear why.
      if (not) answer([not], { bad: true });
      else RUN[order](tier);
    },
  });
  const update = () => {
    const not = why(order, tier);
    say(element, LABELS[order](tier));
    say(reason, not);
    if (element.title !== not) element.title = not;
    if (element.getAttribute('aria-disabled') !== String(not !== '')) element.setAttribute('aria-disabled', not !== '');
  };
  return { element, reason, update };
}

// --- what a person must say

/// The buttons that answer what it waits for.
export function personButtons(upgrade) {
  const waits = upgrade.waits_for ?? '';
  const viewer = state.me?.role === 'viewer';
  const make = (label, look, run) => h('button', {
    type: 'button', class: `button ${look}`, 'aria-disabled': String(viewer), title: viewer ? why('maintenance') : '',
    onclick: () => (viewer ? answer([why('maintenance')], { bad: true }) : run()),
  }, label);
  const named = (verb) => new RegExp('`weir ' + verb + ' ([^`]+)`').exec(waits)?.[1];
  const buttons = [];
  const approve = named('approve');
  if (approve) buttons.push(make('Approve', 'strong', () => give({ order: 'approve', step: approve })));
  const retry = named('step retry');
  if (retry) buttons.push(make('Retry the step', 'strong', () => give({ order: 'retry_step', step: retry })));
  const skip = named('step skip');
  if (skip) {
    buttons.push(make('Skip the step …', '', async () => {
      const values = await ask({
        title: `Take step ${skip} as done?`, lines: [waits], confirm: 'Skip it', fields: [REASON],
      });
      if (values) give({ order: 'skip_step', step: skip, ...because(values) });
    }));
  }
  if (waits.includes('`weir resume`')) buttons.push(make('Resume', 'strong', () => give({ order: 'resume' })));
  return buttons;
}

/// "web and api".
export const tiersAtWork = (status) => and(status.tiers.filter((tier) => tier.rollout).map((tier) => tier.name));
