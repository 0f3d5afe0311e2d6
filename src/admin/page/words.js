// Numbers, times and spans as people read them.

const SHORT = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const LONG = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const DATE = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

export const hhmm = (at) => SHORT.format(at);
export const hhmmss = (at) => LONG.format(at);

/// With the day where it is not today's.
export function moment(at, now) {
  return new Date(at).toDateString() === new Date(now).toDateString() ? LONG.format(at) : DATE.format(at);
}

/// At most three digits that matter.
export function short(number) {
  const size = Math.abs(number);
  if (size >= 1e6) return `${(number / 1e6).toFixed(1)} M`;
  if (size >= 1e4) return `${(number / 1e3).toFixed(0)} k`;
  const digits = size >= 99.95 || size === 0 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3;
  return String(Number(number.toFixed(digits)));
}

export const percent = (share) => `${short(100 * share)} %`;
/// A weight in hundredths of a percent.
export const weight = (points) => `${short(points / 100)} %`;
export const rate = (perSecond) => `${short(perSecond)}/s`;

/// Microseconds.
export function latency(micros) {
  if (micros >= 1e6) return `${short(micros / 1e6)} s`;
  return micros >= 1e3 ? `${short(micros / 1e3)} ms` : `${short(micros)} µs`;
}

/// Odds from their logarithm.
export function odds(log) {
  if (log <= 0) return log < -0.05 ? `1 : ${short(Math.exp(-log))}` : '1 : 1';
  return log > 13.8 ? 'over 1000000 : 1' : `${short(Number(Math.exp(log).toPrecision(3)))} : 1`;
}

/// Seconds: 45 s, 3 min 02 s, 1 h 05 min, 2 d 3 h.
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (number) => String(number).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${two(whole % 60)} s` : ''}`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function and(names) {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

export const plural = (number, noun) => `${short(number)} ${noun}${number === 1 ? '' : 's'}`;
