// What is done with one session of a soak, and how it ends.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import WebSocket from 'ws';
import { isAlive } from '../e2e/lib/process.mjs';
import { PATIENCE, until } from '../e2e/lib/wait.mjs';
import { randomOf } from './plan.mjs';

const patience = () => AbortSignal.timeout(PATIENCE);

/** Sends a signal to a process that may have ended. */
const signal = ({ pid }, name) => { try { process.kill(pid, name); } catch { /* it has */ } };

/** Whether a process is number 1 of a pid namespace of its own. */
const isFirst = ({ pid }) => { try { return /^NSpid:\s+\d+\s+1$/m.test(readFileSync(`/proc/${pid}/status`, 'latin1')); } catch { return false; } };

export class Soaked {
  constructor(soak, plan) {
    Object.assign(this, { soak, plan, server: soak.server, random: randomOf(plan.seed) });
  }

  call(method, path = '', body, settings) { return this.server.call(method, `api/v1/sessions/${this.id}${path}`, body, settings); }

  async state() { return (await this.call('GET')).body; }

  /** From its creation to its end; throws when something is not as it has to be. */
  async live() {
    const { plan } = this;
    await this.create();
    for (const use of plan.uses) await this.use(use);
    const processes = this.server.processes(this.id);
    await this.end();
    const over = await until(`${this} is over`, async () => {
      const view = await this.state();
      return ['terminated', 'failed'].includes(view.state) && view;
    });
    if (!over.reason || !over.ended_at) throw new Error(`${this} is ${over.state} and does not say why: ${JSON.stringify(over)}`);
    await until(`no process of ${this} is left`, () => !processes.some(isAlive));
    await until(`the directory of ${this} is gone`, () => !this.server.fleet.directories().includes(this.id));
    // What a server that was killed meanwhile had to tell is gone with it.
    await until(`${this}'s end is told`, () => this.server.told.get(this.id)?.state === over.state || Date.parse(over.ended_at) < this.server.since);
    if (this.mustFail && over.state !== 'failed') throw new Error(`${this} was killed and is ${over.state}: ${over.reason}`);
    return { id: this.id, state: over.state, reason: over.reason };
  }

  toString() { return `session ${this.plan.number} (${this.plan.isBrowser ? 'Chromium' : 'desktop'}, ${this.plan.uses.join(', ') || 'not used'}, ${this.plan.fate}${this.id ? `, ${this.id}` : ''})`; }

  async create() {
    const { plan, soak } = this;
    const spec = plan.isBrowser ? { url: soak.page, ...(plan.isWarm ? {} : { sound: false }) } : { app: 'none', sound: false };
    const wait = plan.fate === 'deleted while it is created' ? '' : '?wait=60';
    const headers = { 'idempotency-key': `${soak.seed}-${plan.number}` };
    const made = await until(`${this} has a place`, async () => {
      const answer = await this.server.call('POST', `api/v1/sessions${wait}`, { ...spec, labels: { number: `${plan.number}` } }, { headers });
      if (answer.status !== 429) return answer;
      soak.refused += 1;
      return null;
    });
    if (![200, 201].includes(made.status)) throw new Error(`${this} is not created: ${made.status} ${JSON.stringify(made.body)}`);
    this.id = made.body.id;
    soak.known.add(this.id);
    if (!wait) return;
    const ready = await this.server.call('GET', `api/v1/sessions/${this.id}${wait}`);
    if (ready.body.state !== 'ready') throw new Error(`${this} is ${ready.body.state}: ${ready.body.reason}`);
  }

  /** Uses the session in one way. When the server is killed meanwhile, that use is over. */
  async use(name) {
    const life = this.server.life;
    try {
      await this.#uses[name]();
      this.soak.count(name);
    } catch (error) {
      if (life === this.server.life) throw new Error(`${this}: ${name}: ${error.message}`);
      this.soak.count(`${name}, cut off by the server's end`);
    }
  }

  async expect(status, answer) {
    const { status: got, body } = await answer;
    if (got !== status) throw new Error(`${got} ${JSON.stringify(body)}, and not ${status}`);
    return body;
  }

  /** A member's token of the session's room. */
  async login() {
    const link = await this.expect(201, this.call('POST', '/links', { admin: true }));
    const member = await this.expect(200, this.server.call('POST', `s/${this.id}/api/login`, { username: 'soak', password: link.token }, { token: null }));
    return member.token;
  }

  /** A WebSocket that is open; what comes with its opening is not missed. */
  async socket(path, hear) {
    const socket = new WebSocket(`${this.server.origin.replace('http', 'ws')}${path}`);
    socket.on('error', () => {});
    socket.on('message', hear);
    await once(socket, 'open', { signal: patience() });
    return socket;
  }

  async webSocket(end) {
    const token = await this.login();
    let begun = false;
    const socket = await this.socket(`/s/${this.id}/api/ws?token=${token}`, (text) => { begun ||= JSON.parse(text).event === 'system/init'; });
    try {
      await until('it begins', () => begun);
    } finally {
      end(socket);
    }
  }

  async screenshot() {
    const picture = await this.expect(200, this.call('GET', '/screenshot'));
    if (picture.readUInt16BE(0) !== 0xffd8) throw new Error('this is no JPEG');
  }

  #uses = {
    screenshot: () => this.screenshot(),
    'freeze and thaw': async () => {
      await this.expect(200, this.call('POST', '/freeze'));
      const { state } = await this.expect(200, this.call('POST', '/thaw'));
      if (state !== 'ready') throw new Error(`thawed, it is ${state}`);
    },
    'look while frozen': async () => {
      await this.expect(200, this.call('POST', '/freeze'));
      await this.screenshot();
      const { state } = await this.state();
      if (state !== 'ready') throw new Error(`used, it is ${state}`);
    },
    WebSocket: () => this.webSocket((socket) => socket.close()),
    'WebSocket cut off': () => this.webSocket((socket) => socket.terminate()),
    program: async () => {
      const token = await this.login();
      await this.expect(200, this.server.call('POST', `s/${this.id}/v1/processes`, { command: 'xterm', args: ['-e', 'cat'] }, { token }));
      const done = await this.expect(200, this.server.call('POST', `s/${this.id}/v1/processes/run`, { command: 'sh', args: ['-c', 'echo $((6 * 7))'] }, { token }));
      if (done.stdout !== '42\n') throw new Error(`its program says ${JSON.stringify(done)}`);
    },
    thumbnail: async () => { await this.expect(200, this.call('GET', '/thumbnail')); await this.expect(200, this.call('GET', '/usage')); },
    log: () => this.expect(200, this.call('GET', '/logs')),
    navigation: async () => {
      const url = `${this.soak.page}#${this.plan.number}`;
      await this.drive(async (send) => {
        const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
        const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
        await send('Page.navigate', { url }, sessionId);
        await until('the page is there', async () => (await send('Runtime.evaluate', { expression: 'location.href + document.title' }, sessionId)).result.value === `${url}soaked`);
        await send('Target.closeTarget', { targetId });
      });
    },
    viewer: async () => {
      const link = await this.expect(201, this.call('POST', '/links', { admin: true }));
      const browser = await this.soak.browser();
      const context = await browser.newContext();
      try {
        const page = await context.newPage();
        await page.goto(link.url);
        await page.waitForFunction(() => document.querySelector('video')?.videoWidth > 0, null, { timeout: PATIENCE });
      } finally {
        await context.close();
      }
    },
  };

  /** Drives the session's browser, once there is one. */
  async drive(work) {
    const { url } = await until('its browser can be driven', async () => {
      const { status, body } = await this.call('POST', '/cdp');
      if (status === 404) throw new Error('the session is over');
      return status === 200 && body;
    });
    const address = new URL(url);
    const waiting = new Map();
    let number = 0;
    const socket = await this.socket(address.pathname + address.search, (text) => {
      const { id, result, error } = JSON.parse(text);
      waiting.get(id)?.(error ? { error } : { result });
    });
    socket.on('close', () => { for (const done of waiting.values()) done({ error: { message: 'it hung up' } }); });
    const send = async (method, params, sessionId) => {
      const id = (number += 1);
      const answer = new Promise((resolve) => { waiting.set(id, resolve); });
      const timer = setTimeout(() => waiting.get(id)({ error: { message: 'no answer' } }), PATIENCE);
      socket.send(JSON.stringify({ id, method, params, sessionId }));
      const { result, error } = await answer;
      clearTimeout(timer);
      waiting.delete(id);
      if (error) throw new Error(`${method}: ${error.message}`);
      return result;
    };
    try {
      return await work(send);
    } finally {
      socket.terminate();
    }
  }

  /** Lets the session end in its way. */
  async end() { await this.#fates[this.plan.fate](); }

  /** Deletes it, if it is not over by itself. */
  async delete() {
    const { status, body } = await this.call('DELETE');
    if (status !== 404 && (status !== 200 || !['terminated', 'failed'].includes(body.state))) throw new Error(`${this}: deleted, it answers ${status} ${JSON.stringify(body)}`);
  }

  /** Kills one of its processes, and shows that the session goes on or says that it is over; then it is deleted. */
  async killAndDelete(choose) {
    const all = this.server.processes(this.id);
    const chosen = choose(all) ?? all[this.random(all.length)];
    if (!chosen) throw new Error(`${this} has no processes`);
    this.killed = `${chosen.name} (${chosen.pid})`;
    signal(chosen, 'SIGKILL');
    await until(`${chosen.name} is gone`, () => !isAlive(chosen));
    if (this.plan.isBrowser && this.plan.fate === 'its main program is killed') {
      const life = this.server.life;
      await this.drive((send) => send('Browser.getVersion')).then(() => this.soak.count('browser came back'), async (error) => {
        const { state } = await this.state();
        if (life === this.server.life && !['terminated', 'failed'].includes(state)) throw new Error(`${this}: the browser does not come back: ${error.message}`);
      });
    }
    await this.delete();
  }

  #fates = {
    deleted: () => this.delete(),
    'deleted while it is created': () => this.delete(),
    'deleted while it is frozen': async () => {
      const { status } = await this.call('POST', '/freeze');
      if (status !== 200) throw new Error(`${this}: not frozen: ${status}`);
      await this.delete();
    },
    idle: () => this.expect(200, this.call('PATCH', '', { idle_timeout_seconds: 1 })),
    'out of time': () => this.expect(200, this.call('POST', '/extend', { seconds: 1 })),
    'its process is killed': () => { this.mustFail = true; signal(this.server.processes(this.id)[0], 'SIGKILL'); },
    'its process is told to end': () => signal(this.server.processes(this.id)[0], 'SIGTERM'),
    'its process 1 is killed': () => this.killAndDelete((all) => all.find(isFirst)),
    'one of its processes is killed': () => this.killAndDelete((all) => all[this.random(all.length)]),
    'its main program is killed': () => this.killAndDelete((all) => all.find(({ name }) => name === (this.plan.isBrowser ? 'chromium' : 'Xvnc') || name === 'Xtigervnc')),
  };
}
