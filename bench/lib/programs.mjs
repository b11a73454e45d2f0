// Programs at work: one on each of many sessions, doing what programs do, in any order, while people watch some of them. What fails
// is counted, and what is left of it afterwards. Used by the benchmark and, small, by the tests, so it imports nothing from npm.

import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { keepPeers } from './peers.mjs';

/** Between two actions, in milliseconds. */
const PAUSE = [20, 400];
/** Longest action, in milliseconds, which only bounds a failure: many browsers share few cores. */
const LIMIT = 60_000;
/** Most errors that are kept with their text. */
const KEPT = 20;

const FORM = `<title>Form</title><style>html,body{margin:0;height:100%;background:#eee}input{font-size:20px}</style>
<button style="position:absolute;left:100px;top:100px;width:200px;height:100px" onclick="this.textContent = 1 + Number(this.textContent)">0</button>
<input style="position:absolute;left:400px;top:100px;width:300px;height:60px">`;

/** Numbers from 0 to 1 that are the same for the same seed. */
function numbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Descriptors, threads and resident memory (kB) of a process. */
function usage(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)[1]);
  return { descriptors: readdirSync(`/proc/${pid}/fd`).length, threads: field('Threads'), resident: field('VmRSS') };
}

/** Waits until something is so; false when that never comes. */
async function comes(condition, patience) {
  for (const until = Date.now() + patience; Date.now() < until; await sleep(100)) if (await condition()) return true;
  return condition();
}

/** What comes of a promise, if it does in time. */
async function within(what, promise) {
  const over = new AbortController();
  const late = sleep(LIMIT, null, { signal: over.signal }).then(() => { throw new Error(`${what} took more than ${LIMIT / 1_000} s`); });
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    over.abort();
  }
}

function expect(is, should) {
  if (is !== should) throw new Error(`expected ${JSON.stringify(should)}, got ${JSON.stringify(is)}`);
}

/** One program, on one session. */
class Program {
  constructor({ server, id, chromium, url, random }) {
    Object.assign(this, { server, id, chromium, url, random, done: {} });
  }

  async connect() {
    const { url } = await this.server.json('POST', `api/v1/sessions/${this.id}/cdp`);
    this.browser = await this.chromium.connectOverCDP(url, { timeout: LIMIT });
    this.page = this.browser.contexts()[0].pages()[0];
    this.page.setDefaultTimeout(LIMIT);
  }

  /** Computer use: a request of the program's seat in the room. */
  async use(method, path, body) {
    if (!this.seat) {
      const { token } = await this.server.json('POST', `api/v1/sessions/${this.id}/join`);
      this.seat = (await this.server.json('POST', `s/${this.id}/api/login`, { username: 'program', password: token }, null)).token;
    }
    return this.server.ask(method, `s/${this.id}/v1/${path}`, body, this.seat);
  }

  actions = {
    navigate: async () => {
      await this.page.goto(this.url);
      expect(this.page.url(), this.url);
    },
    evaluate: async () => {
      const [a, b] = [Math.floor(this.random() * 1_000), Math.floor(this.random() * 1_000)];
      expect(await this.page.evaluate(([a, b]) => a * b, [a, b]), a * b);
    },
    click: async () => {
      await this.page.setContent(FORM);
      await this.page.click('button');
      expect(await this.page.textContent('button'), '1');
    },
    type: async () => {
      await this.page.setContent(FORM);
      const word = `word ${Math.floor(this.random() * 1e6)}`;
      await this.page.fill('input', '');
      await this.page.type('input', word);
      expect(await this.page.inputValue('input'), word);
    },
    screenshot: async () => {
      const picture = await this.page.screenshot({ type: this.random() < 0.5 ? 'png' : 'jpeg' });
      expect(picture.length > 500, true);
    },
    page: async () => {
      const page = await this.browser.contexts()[0].newPage();
      await page.goto(this.url);
      await page.close();
    },
    context: async () => {
      const context = await this.browser.newContext();
      const page = await context.newPage();
      await page.goto(this.url);
      expect(await page.evaluate('6 * 7'), 42);
      await context.close();
    },
    reconnect: async () => {
      await this.browser.close();
      await this.connect();
      expect(await this.page.evaluate('6 * 7'), 42);
    },
    look: async () => {
      const picture = await (await this.use('GET', 'desktop/screenshot?format=jpeg&scale=0.5')).arrayBuffer();
      expect(new Uint8Array(picture)[0], 0xff);
    },
    press: async () => {
      await this.page.setContent(FORM);
      await this.page.bringToFront();
      await this.use('POST', 'desktop/mouse/click', { x: 550, y: 130 });
      await this.page.waitForFunction(() => document.activeElement === document.querySelector('input'));
      await this.use('POST', 'desktop/keyboard/type', { text: 'as people do' });
      await this.page.waitForFunction(() => document.querySelector('input').value === 'as people do');
    },
    run: async () => {
      const outcome = await (await this.use('POST', 'processes/run', { command: 'sh', args: ['-c', 'echo $((6 * 7))'] })).json();
      expect(outcome.stdout, '42\n');
    },
    file: async () => {
      const path = `fs/file?path=${Math.floor(this.random() * 10)}.txt`;
      await this.use('PUT', path, 'content');
      expect(await (await this.use('GET', path)).text(), 'content');
    },
  };

  /** Acts until the time is over; one who fails connects anew. Everybody begins with each action once. */
  async work(until, failed) {
    const names = Object.keys(this.actions);
    const first = names.map((name) => ({ name, at: this.random() })).sort((a, b) => a.at - b.at).map(({ name }) => name);
    while (performance.now() < until) {
      const name = first.pop() ?? names[Math.floor(this.random() * names.length)];
      try {
        await within(name, this.actions[name]());
        this.done[name] = (this.done[name] ?? 0) + 1;
      } catch (error) {
        failed(`${name}: ${error.message.split('\n')[0]}`);
        await this.browser?.close().catch(() => {});
        await within('to connect', this.connect()).catch((error) => failed(`connect: ${error.message.split('\n')[0]}`));
      }
      await sleep(PAUSE[0] + this.random() * (PAUSE[1] - PAUSE[0]));
    }
  }

  async leave() {
    await this.browser?.close().catch(() => {});
    if (this.seat) await this.server.ask('POST', `s/${this.id}/api/logout`, {}, this.seat).catch(() => {});
  }
}

/** A person with our page: how many frames of the picture have come. */
export async function watch(browser, url) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await keepPeers(page);
  await page.goto(url);
  return {
    frames: () => page.evaluate(async () => {
      let frames = 0;
      for (const peer of window.__peers) {
        for (const report of (await peer.getStats()).values()) if (report.type === 'inbound-rtp' && report.kind === 'video') frames += report.framesReceived ?? 0;
      }
      return frames;
    }),
    close: () => context.close(),
  };
}

/**
 * Lets `count` programs work for `seconds`, while people watch `watched` of them.
 *
 * @param server `url`, `token`, `pid` of `glasshouse serve`, and `processOf(id)` of a session
 * @param chromium Playwright's, for the programs; `viewers`: a browser of its, for people
 * @param url page that programs go to
 */
export async function programs({ server: { url: base, token, pid, processOf }, chromium, viewers, url, count, seconds, watched = 2, seed = 1 }) {
  const ask = async (method, path, body, bearer = token) => {
    const headers = { ...(bearer ? { authorization: `Bearer ${bearer}` } : {}), ...(body && typeof body === 'object' ? { 'content-type': 'application/json' } : {}) };
    const response = await fetch(`${base}${path}`, { method, headers, body: body && typeof body === 'object' ? JSON.stringify(body) : body, signal: AbortSignal.timeout(LIMIT) });
    if (!response.ok) throw new Error(`${method} ${path.replace(/s\/\w+\//, 's/…/')}: ${response.status} ${await response.text()}`);
    return response;
  };
  const server = { ask, json: async (...rest) => (await ask(...rest)).json() };
  const errors = [];
  let failures = 0;
  const failed = (who) => (text) => { failures += 1; if (errors.length < KEPT) errors.push(`${who}: ${text}`); };
  const create = async () => {
    const view = await server.json('POST', 'api/v1/sessions?wait=60', { url, sound: false, kiosk: true });
    for (let waits = 0; waits < 3 && view.state === 'creating'; waits += 1) Object.assign(view, await server.json('GET', `api/v1/sessions/${view.id}?wait=60`));
    if (view.state !== 'ready') throw new Error(`a session is ${view.state}: ${view.reason}`);
    return view.id;
  };
  const drivable = (id) => comes(() => server.json('POST', `api/v1/sessions/${id}/cdp`).then(() => true, () => false), LIMIT);

  // The first session finds nothing warm; what it leaves is no leak.
  const warm = await create();
  await drivable(warm);
  await ask('DELETE', `api/v1/sessions/${warm}`);
  const before = usage(pid);

  const ids = [], all = [], people = [];
  try {
    while (ids.length < count) ids.push(await create());
    for (const [at, id] of ids.entries()) {
      await drivable(id);
      const program = new Program({ server, id, chromium, url, random: numbers(seed * 1_000 + at) });
      all.push(program);
      await program.connect();
    }
    for (const id of ids.slice(0, watched)) {
      const { token: link } = await server.json('POST', `api/v1/sessions/${id}/links`, { admin: false });
      const person = await watch(viewers, `${base}s/${id}/#token=${link}`);
      people.push(person);
      if (!await comes(async () => await person.frames() > 0, LIMIT)) failed('a person')('no picture');
    }
    const [frames, session] = [await Promise.all(people.map((person) => person.frames())), ids.map((id) => usage(processOf(id)))];
    const until = performance.now() + seconds * 1_000;
    await Promise.all(all.map((program, at) => program.work(until, failed(`program ${at}`))));
    const seen = await Promise.all(people.map(async (person, at) => await person.frames() - frames[at]));
    for (const [at, count] of seen.entries()) if (count === 0) failed(`person ${at}`)('the picture stood still');
    const memory = usage(pid).resident;

    await Promise.all(people.map((person) => person.close()));
    await Promise.all(all.map((program) => program.leave()));
    // Descriptors of a session without programs and viewers, against those with one program that was not at work yet.
    const grown = (at) => usage(processOf(ids[at])).descriptors - session[at].descriptors;
    await comes(() => ids.every((_, at) => grown(at) <= 0), LIMIT);
    const sessions = { descriptors: Math.max(...ids.map((_, at) => grown(at))), resident: Math.max(...ids.map((id, at) => usage(processOf(id)).resident - session[at].resident)) };
    const alive = (await server.json('GET', 'api/v1/sessions?limit=200&state=ready')).sessions.length;
    if (alive !== count) failed('the sessions')(`${alive} of ${count} live`);

    const processes = ids.map(processOf);
    await Promise.all(ids.splice(0).map((id) => ask('DELETE', `api/v1/sessions/${id}`)));
    const exists = (one) => { try { process.kill(one, 0); return true; } catch { return false; } };
    await comes(() => !processes.some(exists), LIMIT);
    await comes(() => usage(pid).descriptors <= before.descriptors, LIMIT / 2);
    const done = {};
    for (const program of all) for (const [name, times] of Object.entries(program.done)) done[name] = (done[name] ?? 0) + times;
    return { count, seconds, done, failures, errors, frames: seen, sessions, left: processes.filter(exists).length, server: { before, during: memory, after: usage(pid) } };
  } finally {
    await Promise.all(people.map((person) => person.close().catch(() => {})));
    await Promise.all(all.map((program) => program.leave()));
    await Promise.all(ids.map((id) => ask('DELETE', `api/v1/sessions/${id}`).catch(() => {})));
  }
}
