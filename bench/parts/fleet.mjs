// From a request to create a session to its page on the screen and CDP at hand: from the pool, from a frozen pool, and cold.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../lib/glasshouse.mjs';
import { Child, sleep, until } from '../lib/process.mjs';
import { fixed, median, note } from '../lib/table.mjs';

const PROGRAM = process.env.GLASSHOUSE ?? join(ROOT, 'target', 'release', 'glasshouse');

/** A server with a state directory of its own. */
class Server {
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

/** Milliseconds until the session is ready, CDP answers, its page is painted, and all of these. */
async function once(server, pages, url) {
  const from = performance.now(), since = () => performance.now() - from;
  const paint = pages.nextPaint().then(since);
  const { id } = await server.call('POST', 'api/v1/sessions?wait=60', { url });
  const ready = since();
  const { token } = await until('CDP', () => server.call('POST', `api/v1/sessions/${id}/cdp`).catch(() => false), { every: 5 });
  await server.call('GET', `s/${id}/json/version`, undefined, token);
  const driven = since(), painted = await paint;
  await server.call('DELETE', `api/v1/sessions/${id}`);
  return { ready, driven, painted, all: Math.max(driven, painted) };
}

async function rounds(pages, count, options) {
  const server = new Server(), url = pages.url('first'), all = [];
  const wanted = options.includes('--pool') ? 1 : 0;
  await server.start(new URL(url).port, options);
  try {
    for (let round = 0; round < count; round++) {
      await until('the pool', async () => await server.warm() === wanted);
      await sleep(300);
      all.push(await once(server, pages, url));
    }
  } finally {
    await server.stop();
  }
  return all;
}

export async function fleet({ pages, quick, failed }) {
  const count = quick ? 10 : 50, results = {};
  for (const [name, options, most] of [['from the pool', ['--pool', '1'], 150], ['from a frozen pool', ['--pool', '1', '--pool-frozen'], 150], ['cold', [], 900]]) {
    try {
      results[name] = await rounds(pages, count, options);
      const of = (what) => median(results[name].map((one) => one[what]));
      note('fleet', `create → ready, ${name}`, `${fixed(of('ready'))} ms`);
      note('fleet', `create → CDP answers and a local page is painted, ${name}, p50 of ${count}`, `${fixed(of('all'))} ms`, `≤ ${most} ms`, of('all') <= most);
    } catch (error) {
      failed(`fleet, ${name}`, error);
    }
  }
  return results;
}
