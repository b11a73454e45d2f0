// A server of many sessions, for as long as a part of the benchmark needs it.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './glasshouse.mjs';
import { Child, sleep, until } from './process.mjs';

const PROGRAM = process.env.GLASSHOUSE ?? join(ROOT, 'target', 'release', 'glasshouse');

/** A server with a state directory of its own. */
export class Server {
  state = mkdtempSync(join(tmpdir(), 'gh-bench-'));

  async start(port, options) {
    const line = [PROGRAM, 'serve', '--listen', '127.0.0.1:0', '--state', this.state, '--json', '--creations-per-minute', '10000',
      '--creations-per-minute-and-token', '10000', ...options, '--', `--expose=${port}`];
    this.child = new Child(line, { env: { HOME: process.env.HOME }, log: join(this.state, 'log'), stdout: 'pipe' });
    let out = '';
    this.child.process.stdout.on('data', (bytes) => { out += bytes; });
    await until('the server', () => {
      if (!this.child.running) throw new Error(`glasshouse serve ended: ${this.child.tail()}`);
      return out.includes('\n');
    });
    Object.assign(this, JSON.parse(out.split('\n')[0]));
  }

  async call(method, path, body, token = this.token) {
    const response = await fetch(this.url + path, {
      method, body: body && JSON.stringify(body), headers: { authorization: `Bearer ${token}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return response.headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : text;
  }

  /** Number of a session's process, which its lock names. */
  processOf(id) { return Number(readFileSync(join(this.state, 's', id, 'lock'), 'utf8').split(' ')[0]); }

  /** The socket on which a session speaks HTTP to its server. */
  socketOf(id) { return join(this.state, 's', id, 'http'); }

  async warm() {
    return Number(/^glasshouse_fleet_pool\{state="warm"\} (\d+)$/m.exec(await this.call('GET', 'metrics'))[1]);
  }

  async stop() {
    for (const { id } of (await this.call('GET', 'api/v1/sessions')).sessions) await this.call('DELETE', `api/v1/sessions/${id}`);
    // It ends its pool first, which nobody else would.
    process.kill(this.child.pid, 'SIGTERM');
    await Promise.race([this.child.ended, sleep(15_000)]);
    await this.child.stop();
    rmSync(this.state, { recursive: true, force: true });
  }
}
