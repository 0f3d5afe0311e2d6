// Making and changing elements. Names and messages come from strangers: text only, never markup.

const SVG = 'http://www.w3.org/2000/svg';

/// An element with properties, attributes (with a dash, or `role` and `for`), listeners and children.
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class') element.className = value;
    else if (name === 'data') Object.assign(element.dataset, value);
    else if (name.includes('-') || ['role', 'for', 'colspan', 'scope'].includes(name)) {
      element.setAttribute(name, value === true ? '' : value);
    } else element[name] = value;
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/// An SVG element.
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

/// Sets text where it differs: what is read aloud, selected or hovered stays as it is.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/// Shows or hides.
export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

const made = new WeakMap();

/// Makes the children anew where what they are made of has changed.
export function fill(element, from, make) {
  const key = JSON.stringify(from) ?? '';
  if (made.get(element) === key) return;
  made.set(element, key);
  const children = make();
  element.replaceChildren(...(Array.isArray(children) ? children : [children]));
}

/// A sentence in which `commands` stand out.
export function prose(text) {
  return text.split('`').map((part, index) => (index % 2 ? h('code', {}, part) : part));
}

const still = matchMedia('(prefers-reduced-motion: reduce)');
const places = new Map();

/// Sets a length of an element that was made anew, moving from where the one before with this key stood.
export function glide(element, key, property, to) {
  const from = places.get(key);
  places.set(key, to);
  element.style[property] = to;
  if (from === undefined || from === to || still.matches) return;
  element.animate([{ [property]: from }, { [property]: to }], { duration: 800, easing: 'ease' });
}

/// How a version is drawn: a sample of its line, with a shape of its own.
export function swatch(style) {
  const line = s('path', { d: 'M0 6H26', class: `line ${style}` });
  const shapes = {
    stable: () => s('circle', { cx: 13, cy: 6, r: 3.4, class: 'point stable' }),
    canary: () => s('path', { d: 'M13 1.4 17.6 6 13 10.6 8.4 6Z', class: 'point canary' }),
  };
  const svg = s('svg', { viewBox: '0 0 26 12', class: 'swatch', 'aria-hidden': 'true' }, line);
  if (shapes[style]) svg.append(shapes[style]());
  return svg;
}
