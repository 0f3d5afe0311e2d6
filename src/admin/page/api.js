// The way to the program: what is asked, what is ordered, and the stream of what happens.

/// No sign of life for so long: what is shown is old. The program gives one every 5 s.
export const STALE_MS = 12_000;
/// For so long: the connection is dead, though nobody has said so.
const DEAD_MS = 25_000;
/// A tab that nobody sees for so long lets its stream go.
const HIDDEN_MS = 10_000;
/// Longest rest between two tries.
const REST_MS_MAX = 8_000;
/// Longest an answer may take: an order may wait for a disk.
const ANSWER_MS_MAX = 60_000;

/// What was not done, in a sentence.
export class Trouble extends Error {
  constructor(status, body) {
    super(body?.error ?? `the answer was ${status}`);
    this.status = status;
    this.kind = body?.kind ?? 'no_answer';
  }
}

async function ask(method, path, body) {
  const headers = { accept: 'application/json' };
  // No page of a stranger can send this header here.
  if (method !== 'GET') headers['x-weir-page'] = '1';
  if (body) headers['content-type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(path, {
      method, headers, body: body && JSON.stringify(body), credentials: 'same-origin',
      cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
  } catch (error) {
    const late = error.name === 'TimeoutError';
    throw new Trouble(0, { error: late ? 'no answer came in time' : 'Weir cannot be reached from here' });
  }
  const text = await answer.text();
  let read;
  try {
    read = text ? JSON.parse(text) : {};
  } catch {
    throw new Trouble(answer.status, { error: `what answered is not Weir: ${answer.status} ${text.slice(0, 80)}` });
  }
  if (!answer.ok) throw new Trouble(answer.status, read);
  return read;
}

export const status = () => ask('GET', '/api/v1/status');
export const history = (span) => ask('GET', `/api/v1/history?span=${span}`);
export const log = (after) => ask('GET', `/api/v1/log?limit=200${after === undefined ? '' : `&after=${after}`}`);
export const order = (order) => ask('POST', '/api/v1/orders', order);
export const login = (token) => ask('POST', '/api/v1/session', { token });
export const logout = () => ask('DELETE', '/api/v1/session');

/// Who is logged in; null: nobody.
export async function whoami() {
  try {
    return await ask('GET', '/api/v1/whoami');
  } catch (trouble) {
    if (trouble.status === 401) return null;
    throw trouble;
  }
}

/// Why a stream is refused; empty: it is not, or nobody says.
async function refusal(path) {
  try {
    const answer = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    if (!answer.ok) return (await answer.json()).error ?? '';
    await answer.body.cancel();
  } catch {
    // The connection is lost indeed.
  }
  return '';
}

/// The stream, opened again whenever it breaks. `state` hears 'live', 'stale' or 'lost'; `opened` comes
/// before each try, and throws where there is nothing to connect to.
export class Stream {
  constructor({ opened, status, record, point, state, denied }) {
    Object.assign(this, { opened, status, record, point, state, denied });
    this.tries = 0;
    this.heard = 0;
    this.generation = 0;
    setInterval(() => this.watch(), 1000);
    addEventListener('online', () => this.again());
    // A browser opens some six connections to one host: tabs that nobody sees must not hold them.
    document.addEventListener('visibilitychange', () => {
      clearTimeout(this.leaving);
      if (!document.hidden && this.source === undefined) this.again();
      if (document.hidden) this.leaving = setTimeout(() => this.leave(), HIDDEN_MS);
    });
  }

  /// Connects now.
  async again() {
    const generation = ++this.generation;
    clearTimeout(this.timer);
    this.close();
    this.wanted = true;
    try {
      const after = await this.opened();
      if (generation !== this.generation) return;
      this.connect(after);
    } catch (trouble) {
      if (generation !== this.generation) return;
      if (trouble.status === 401) {
        this.wanted = false;
        this.denied();
      } else this.rest(trouble.message);
    }
  }

  connect(after) {
    const path = `/api/v1/stream?after=${after}`;
    const source = new EventSource(path);
    const hear = (name, tell) => source.addEventListener(name, (event) => {
      this.heard = Date.now();
      this.tries = 0;
      this.state('live');
      tell(JSON.parse(event.data));
    });
    hear('status', this.status);
    hear('record', this.record);
    hear('point', this.point);
    source.onerror = async () => {
      // It tells nobody what the answer was: one that was refused is asked for once more.
      const why = source.readyState === EventSource.CLOSED ? await refusal(path) : '';
      if (source === this.source) this.rest(why || 'the connection to Weir is lost');
    };
    this.source = source;
    this.heard = Date.now();
  }

  /// Nobody looks; it is opened again when somebody does.
  leave() {
    this.generation++;
    clearTimeout(this.timer);
    this.close();
  }

  close() {
    this.source?.close();
    this.source = undefined;
  }

  rest(why) {
    this.close();
    const rest = Math.min(REST_MS_MAX, 500 * 2 ** this.tries++);
    this.state('lost', { why, again: Date.now() + rest });
    this.timer = setTimeout(() => this.again(), rest);
  }

  watch() {
    if (!this.source) return;
    const silent = Date.now() - this.heard;
    if (silent > DEAD_MS) this.rest('nothing was heard of Weir for a while');
    else if (silent > STALE_MS) this.state('stale');
  }
}
