// The server of a soak: killed now and then, started again, asked again what it could not answer, and listened to.

import { request } from 'node:http';
import { isAlive, tree, usage } from '../e2e/lib/process.mjs';
import { Fleet } from '../e2e/lib/serve.mjs';
import { until } from '../e2e/lib/wait.mjs';

/** How long one request may take; a deletion waits for the session's end. */
const ANSWER = 120_000;

/** One request on a connection of its own, so that none of ours is counted as the server's. */
function exchange(url, method, headers, body) {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, headers, agent: false, timeout: ANSWER }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode, bytes: Buffer.concat(parts), headers: response.headers }));
    });
    asked.on('timeout', () => asked.destroy(new Error(`${method} ${url}: no answer within ${ANSWER / 1000} s`)));
    asked.on('error', reject);
    asked.end(body);
  });
}

export class Server {
  /** Counts the server's lives. */
  life = 1;
  /** The last state that was told of each session, by its id. */
  told = new Map();
  takeovers = [];

  static async start(place, options, session) {
    const server = new Server();
    server.fleet = await Fleet.start(options, { env: place.env, wrap: place.wrap, session });
    server.#begun();
    return server;
  }

  get url() { return this.fleet.url; }
  get origin() { return this.fleet.origin; }
  get pid() { return this.fleet.seen.pid; }

  #begun() {
    this.since = this.starting ?? Date.now();
    this.isUp = Promise.resolve();
    this.#listen(this.life);
  }

  /** Listens to events. A server that comes back tells what it has found since its start. */
  #listen(life, after = 0) {
    const headers = { authorization: `Bearer ${this.fleet.token}`, 'last-event-id': `${after}` };
    this.events = request(`${this.url}api/v1/events`, { headers, agent: false }, (response) => {
      let rest = '';
      response.setEncoding('utf8');
      response.on('data', (part) => {
        const blocks = (rest + part).split('\n\n');
        rest = blocks.pop();
        for (const block of blocks) {
          const data = /^data: (.*)$/m.exec(block)?.[1];
          if (/^event: session$/m.test(block)) this.#hear(JSON.parse(data));
          else if (data) this.lost = (this.lost ?? 0) + Number(data);
        }
      });
      const over = () => { if (life === this.life && !this.isOver) this.#listen(life, this.seq ?? 0); };
      response.on('error', () => {});
      response.on('close', over);
    });
    this.events.on('error', () => {});
    this.events.end();
  }

  #hear(event) {
    this.seq = event.seq;
    this.told.set(event.session, event);
  }

  /** Kills the server, starts it again, and notes how long it takes until it knows its sessions. */
  async kill() {
    let up;
    this.isUp = new Promise((resolve) => { up = resolve; });
    this.life += 1;
    this.fleet.seen.child.kill('SIGKILL');
    await this.fleet.seen.ended;
    this.seq = 0;
    this.starting = Date.now();
    const from = performance.now();
    await this.fleet.serve();
    const { status } = await exchange(`${this.url}api/v1/sessions`, 'GET', { authorization: `Bearer ${this.fleet.token}` });
    if (status !== 200) throw new Error(`the server that came back answers ${status}`);
    this.takeovers.push(performance.now() - from);
    this.#begun();
    up();
  }

  /** Calls the API, or a session; asks again when the server was killed meanwhile. */
  async call(method, path, body, { token = this.fleet.token, headers = {} } = {}) {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    for (;;) {
      await this.isUp;
      const life = this.life;
      try {
        const all = { ...(sent ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(sent) } : {}), ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers };
        const { status, bytes } = await exchange(this.url + path, method, all, sent);
        let value = bytes;
        try { value = JSON.parse(bytes.toString()); } catch { /* not JSON */ }
        return { status, body: value };
      } catch (error) {
        await new Promise((resolve) => { setImmediate(resolve); });
        await this.isUp;
        if (life === this.life) throw new Error(`${method} ${path}: ${error.message}`);
      }
    }
  }

  /** All sessions in these states. */
  async sessions(states = '') {
    const all = [];
    for (let cursor = ''; ;) {
      const { body } = await this.call('GET', `api/v1/sessions?limit=200${states && `&state=${states}`}${cursor && `&cursor=${cursor}`}`);
      all.push(...body.sessions);
      if (!body.next) return all;
      cursor = body.next;
    }
  }

  /** Sessions that are started ahead and can be taken. */
  async warm() {
    const { body } = await this.call('GET', 'metrics', undefined, { token: null });
    return Number(/^glasshouse_fleet_pool\{state="warm"\} (\d+)$/m.exec(`${body}`)?.[1] ?? 0);
  }

  usage() { return usage(this.pid); }

  /** Processes of a session, none when it has not begun or is gone. */
  processes(id) { try { return this.fleet.processes(id); } catch { return []; } }

  /** All processes that there may be: the server's and those of the sessions that there are directories of. */
  expected() {
    return new Set([...tree(this.pid), ...this.fleet.directories().flatMap((id) => this.processes(id))].map(({ pid }) => pid));
  }

  /** Stops the server as a person would. */
  async stop() {
    this.isOver = true;
    this.events.destroy();
    const processes = tree(this.pid);
    this.fleet.seen.child.kill('SIGTERM');
    const { code } = await this.fleet.seen.ended;
    await until('no process of the server is left', () => processes.every((one) => !isAlive(one)));
    return code;
  }

  /** Starts it anew after a stop. */
  async again() {
    this.isOver = false;
    this.life += 1;
    this.seq = 0;
    this.starting = Date.now();
    await this.fleet.serve();
    this.#begun();
  }

  close() {
    this.isOver = true;
    this.events?.destroy();
    this.fleet.kill();
  }
}
