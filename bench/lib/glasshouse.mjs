// Our own session as one of the compared systems.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Child, scratch } from './process.mjs';

export const ROOT = join(import.meta.dirname, '..', '..');
const PROGRAM = process.env.GLASSHOUSE ?? join(ROOT, 'target', 'release', 'glasshouse');

export class Glasshouse {
  name = 'Glasshouse';
  selector = 'video,canvas';

  /** Starts a session that shows `url` full screen. `flags`: further options of `glasshouse session`; `env`: further variables. */
  async start(url, flags = [], env = {}) {
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} not found: build it with cargo build --release`);
    // Within the walls, this machine's loopback is out of reach unless it is named.
    const { hostname, port } = new URL(url);
    const exposed = hostname === '127.0.0.1' ? ['--expose', port] : [];
    this.child = new Child([PROGRAM, 'session', '--listen', '127.0.0.1:0', '--json', '--url', url, '--app-flag=--kiosk', ...exposed, ...flags], {
      env: { HOME: process.env.HOME, ...env }, log: join(scratch('glasshouse'), 'log'), stdout: 'pipe',
    });
    const line = await Promise.race([firstLine(this.child.process.stdout), this.child.ended.then((status) => {
      throw new Error(`glasshouse ended with ${status}: ${this.child.tail()}`);
    })]);
    this.readyAt = performance.now();
    Object.assign(this, JSON.parse(line));
    this.origin = new URL(this.url).origin;
    const token = new URL(this.url).hash.replace('#token=', '');
    this.admin = (await this.#post('/api/login', { username: 'bench', password: token })).token;
  }

  /** Environment for other programs on the same display. */
  get environment() {
    return { DISPLAY: this.display, ...(this.xauthority ? { XAUTHORITY: this.xauthority } : {}) };
  }

  /** Calls an admin's part of the API. */
  async call(method, path, body) {
    const response = await fetch(this.origin + path, { method, body, headers: { authorization: `Bearer ${this.admin}` } });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    await response.arrayBuffer();
  }

  /** Asks Chromium for its version through the DevTools gate. */
  async devtools() {
    const address = new URL(this.cdp);
    const response = await fetch(`${this.origin}/json/version`, { headers: { authorization: `Bearer ${address.searchParams.get('token')}` } });
    await response.arrayBuffer();
    return response.ok;
  }

  async #post(path, body) {
    const response = await fetch(this.origin + path, {
      method: 'POST', body: JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...(this.admin ? { authorization: `Bearer ${this.admin}` } : {}) },
    });
    if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** A token that logs in `uses` admins. */
  async loginToken(uses = 1) {
    return (await this.#post('/api/glasshouse/links', { admin: true, uses })).token;
  }

  /** Address of the viewer's page with a login token of its own. */
  async viewerUrl() {
    return `${this.origin}/#token=${await this.loginToken()}`;
  }

  /** All samples of /metrics: name with labels → value. */
  async metrics() {
    const response = await fetch(`${this.origin}/metrics`, { headers: { authorization: `Bearer ${this.admin}` } });
    if (!response.ok) throw new Error(`GET /metrics: ${response.status}`);
    const samples = new Map();
    for (const line of (await response.text()).split('\n')) {
      const match = /^([a-zA-Z_:][^ ]*(?:\{.*\})?) ([^ ]+)/.exec(line);
      if (match && !line.startsWith('#')) samples.set(match[1], Number(match[2]));
    }
    return samples;
  }

  async stop() { await this.child?.stop(); }
}

function firstLine(stream) {
  return new Promise((resolve) => {
    let text = '';
    stream.on('data', (chunk) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end >= 0) resolve(text.slice(0, end));
    });
  });
}

/**
 * A quantile of the observations that a Prometheus histogram took between two readings of /metrics, interpolated inside its
 * bucket. Returns null when there were none.
 */
export function histogramQuantile(before, after, name, p) {
  const buckets = new Map();
  for (const [key, value] of after) {
    const match = new RegExp(`^${name}_bucket\\{.*le="([^"]+)".*\\}$`).exec(key);
    if (!match) continue;
    // prometheus-client writes the last bucket as f64::MAX.
    const limit = match[1] === '+Inf' || Number(match[1]) > 1e300 ? Infinity : Number(match[1]);
    buckets.set(limit, (buckets.get(limit) ?? 0) + value - (before.get(key) ?? 0));
  }
  const limits = [...buckets.keys()].sort((a, b) => a - b);
  const total = buckets.get(Infinity);
  if (!total) return null;
  let low = 0, below = 0;
  for (const limit of limits) {
    const count = buckets.get(limit);
    if (count >= total * p) {
      const value = limit === Infinity ? low : low + ((limit - low) * (total * p - below)) / Math.max(1, count - below);
      return { value, count: total, beyond_last_bucket: limit === Infinity };
    }
    low = limit;
    below = count;
  }
  return null;
}
