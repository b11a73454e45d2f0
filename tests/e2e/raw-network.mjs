// A network of its own for a viewer, which can be cut without either end noticing. Needs root.

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { Session, start } from './lib/session.mjs';
import { until } from './lib/wait.mjs';

const ip = (...words) => execFileSync('ip', words, { stdio: ['ignore', 'pipe', 'pipe'] });

export class Network {
  /** Two ends: `here`, for the session, and `there`, for the viewer (RFC 2544's addresses for tests). */
  constructor() {
    const number = process.pid % 16000;
    this.name = `ghtest${number}`;
    this.near = `gh${number}a`;
    this.far = `gh${number}b`;
    const base = `198.18.${number >> 6}.${(number & 63) * 4}`.split('.').map(Number);
    this.here = [...base.slice(0, 3), base[3] + 1].join('.');
    this.there = [...base.slice(0, 3), base[3] + 2].join('.');
    ip('netns', 'add', this.name);
    try {
      ip('link', 'add', this.near, 'type', 'veth', 'peer', 'name', this.far, 'netns', this.name);
      ip('addr', 'add', `${this.here}/30`, 'dev', this.near);
      ip('link', 'set', this.near, 'up');
      this.inside('addr', 'add', `${this.there}/30`, 'dev', this.far);
      this.inside('link', 'set', this.far, 'up');
      this.inside('link', 'set', 'lo', 'up');
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  inside(...words) { return ip('-n', this.name, ...words); }

  /** Packets are sent still, to a station that does not exist: nobody is told. */
  cut() {
    const nobody = ['lladdr', '02:00:00:00:00:99', 'nud', 'permanent'];
    ip('neigh', 'replace', this.there, 'dev', this.near, ...nobody);
    this.inside('neigh', 'replace', this.here, 'dev', this.far, ...nobody);
  }

  heal() {
    ip('neigh', 'del', this.there, 'dev', this.near);
    this.inside('neigh', 'del', this.here, 'dev', this.far);
  }

  /** The viewer's machine loses its cable, and sees that. */
  unplug() { this.inside('link', 'set', this.far, 'down'); }
  plug() { this.inside('link', 'set', this.far, 'up'); }

  /** A browser at the far end. */
  async launch() {
    this.directory = mkdtempSync(join(tmpdir(), 'glasshouse-test-'));
    const program = join(this.directory, 'chromium');
    writeFileSync(program, `#!/bin/sh\nexec ip netns exec ${this.name} /usr/bin/chromium "$@"\n`);
    chmodSync(program, 0o755);
    return chromium.launch({ executablePath: program, headless: true, args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required'] });
  }

  remove() {
    if (this.directory) rmSync(this.directory, { recursive: true });
    // The pair goes with the name space, as soon as nothing runs in it any more.
    try { ip('link', 'del', this.near); } catch { /* never made */ }
    ip('netns', 'del', this.name);
  }
}

/** A session that listens at another address than loopback. */
export async function sessionAt(address, options) {
  const session = new Session();
  session.seen = start(['session', '--listen', address, '--json', ...options]);
  let isOver = false;
  session.seen.ended.then(() => { isOver = true; });
  await until('the session is ready', () => isOver || session.seen.out.includes('\n'));
  if (isOver) throw new Error(`the session ended: ${session.seen.err}`);
  Object.assign(session, JSON.parse(session.seen.out));
  session.origin = new URL(session.url).origin;
  return session;
}
