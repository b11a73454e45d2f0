// A real `glasshouse serve` with a state directory of its own; everything it started is gone at the end.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { isAlive, tree } from './process.mjs';
import { runToEnd, start } from './session.mjs';
import { until, within } from './wait.mjs';

const fleets = new Set();
const sweep = () => { for (const fleet of fleets) fleet.kill(); };
process.on('exit', sweep);
if (process.env.NODE_TEST_CONTEXT) after(sweep);

/** A state directory, the server on it, and the sessions that outlive the server. */
export class Fleet {
  state = mkdtempSync(join(tmpdir(), 'gh-fleet-'));

  /** @param {string[]} options of `glasshouse serve`; `session` those of its sessions; `wrap` is a command that both are put behind */
  static async start(options = [], { session = [], env = {}, wrap = [] } = {}) {
    const fleet = new Fleet();
    fleets.add(fleet);
    fleet.arguments = ['serve', '--listen', '127.0.0.1:0', '--state', fleet.state, '--json', ...options, '--', ...session];
    fleet.settings = { env, wrap };
    await fleet.serve();
    fleet.token = fleet.first.token;
    return fleet;
  }

  /** Starts the server, again after it has ended. */
  async serve() {
    this.seen = start(this.arguments, this.settings);
    let over = false;
    this.seen.ended.then(() => { over = true; });
    await until('the server listens', () => over || this.seen.out.includes('\n'));
    if (!this.seen.out.includes('\n')) throw new Error(`the server ended: ${this.seen.err}`);
    this.first = JSON.parse(this.seen.out.split('\n')[0]);
    this.url = this.first.url;
    this.origin = new URL(this.url).origin;
  }

  /** Calls the API: status, body (JSON if it is) and headers. */
  async api(method, path, body, { token = this.token, headers = {} } = {}) {
    const response = await fetch(`${this.url}${path}`, {
      method, body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
    });
    const text = await response.text();
    let value = text;
    try { value = JSON.parse(text); } catch { /* not JSON */ }
    return { status: response.status, body: value, headers: response.headers };
  }

  /** Creates a session that is ready. */
  async create(spec = { app: 'none', sound: false }) {
    const { status, body } = await this.api('POST', 'api/v1/sessions?wait=60', spec);
    assert.equal(status, 201, JSON.stringify(body));
    assert.equal(body.state, 'ready', JSON.stringify(body));
    return body;
  }

  /** A token with powers over one session, or the fleet. */
  async grant(powers, session) {
    const { status, body } = await this.api('POST', 'api/v1/tokens', { powers, session });
    assert.equal(status, 201, JSON.stringify(body));
    return body;
  }

  /** All processes of a session, by its lock. */
  processes(id) {
    const [pid] = readFileSync(join(this.state, 's', id, 'lock'), 'utf8').split(' ').map(Number);
    return tree(pid);
  }

  /** What sessions there are directories of. */
  directories() { return readdirSync(join(this.state, 's')); }

  /** Runs a command of the command line against this server. */
  command(...options) { return runToEnd([...options, '--state', this.state]); }

  /** Ends the sessions and the server, and shows that nothing is left. */
  async stop() {
    const { body } = await this.api('GET', 'api/v1/sessions?limit=200');
    const processes = body.sessions.flatMap(({ id }) => { try { return this.processes(id); } catch { return []; } });
    await Promise.all(body.sessions.map(({ id }) => this.api('DELETE', `api/v1/sessions/${id}`)));
    this.seen.child.kill('SIGTERM');
    const { code } = await within('the server ends', this.seen.ended);
    await until('nothing is left of the sessions', () => processes.every((one) => !isAlive(one)));
    assert.deepEqual(this.directories(), []);
    this.kill();
    return code;
  }

  /** What a failed test needs: no process and no file is left. */
  kill() {
    fleets.delete(this);
    this.seen?.child.kill('SIGKILL');
    for (const id of existing(join(this.state, 's'))) {
      // The keeper ends the programs when the session's process is gone.
      try { process.kill(this.processes(id)[0].pid, 'SIGKILL'); } catch { /* gone */ }
    }
    rmSync(this.state, { recursive: true, force: true });
  }
}

function existing(directory) {
  try { return readdirSync(directory); } catch { return []; }
}
