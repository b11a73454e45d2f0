// A real session: the program itself, on free ports, gone at the end.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { after } from 'node:test';
import { isAlive, tree } from './process.mjs';
import { PATIENCE, until } from './wait.mjs';

export const ROOT = join(import.meta.dirname, '..', '..', '..');
export const PROGRAM = process.env.GLASSHOUSE_BIN ?? join(ROOT, 'target', 'debug', 'glasshouse');

/** Ports of this process's page servers that run: sessions reach these of the host and no others. */
export const exposed = new Set();

const running = new Set();
const end = () => { for (const child of running) child.kill('SIGKILL'); };
process.on('exit', end);
// What a failed test has left would keep its file, and so the whole run, from ending.
if (process.env.NODE_TEST_CONTEXT) after(end);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

/** Starts the program; the kernel ends it when the test is gone, however it went. */
export function start(options, { env = {}, wrap = [] } = {}) {
  const [name, ...rest] = options;
  const pages = name === 'session' ? [...exposed].map((port) => `--expose=${port}`) : [];
  const command = [...wrap, PROGRAM, name, ...pages, ...rest];
  const child = spawn('setpriv', ['--pdeathsig=KILL', '--', ...command], {
    env: { ...process.env, RUST_LOG: process.env.GLASSHOUSE_TEST_LOG ?? '', ...env }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  const seen = { child, pid: child.pid, out: '', err: '' };
  child.stdout.on('data', (bytes) => { seen.out += bytes; });
  child.stderr.on('data', (bytes) => { seen.err += bytes; });
  seen.ended = new Promise((resolve) => child.on('close', (code, signal) => { running.delete(child); resolve({ code, signal }); }));
  return seen;
}

/** Runs the program to its end: code, output and errors. */
export async function runToEnd(options, settings) {
  const seen = start(options, settings);
  const timer = setTimeout(() => seen.child.kill('SIGKILL'), PATIENCE);
  const { code, signal } = await seen.ended;
  clearTimeout(timer);
  return { code, signal, out: seen.out, err: seen.err };
}

export class Session {
  /** @param {string[]} options further options of `glasshouse session` */
  static async start(options = [], settings = {}) {
    const session = new Session();
    session.seen = start(['session', '--listen', '127.0.0.1:0', '--json', ...options], settings);
    let over = false;
    session.seen.ended.then(() => { over = true; });
    await until('the session is ready', () => over || session.seen.out.includes('\n'));
    if (!session.seen.out.includes('\n')) throw new Error(`the session ended: ${session.seen.err}`);
    Object.assign(session, JSON.parse(session.seen.out.split('\n')[0]));
    session.origin = new URL(session.url).origin;
    return session;
  }

  /** Calls the API; `token` is a session's. Returns status, body (JSON if it is) and headers. */
  async api(method, path, body, token) {
    const response = await fetch(this.origin + path, {
      method, body: body === undefined ? undefined : JSON.stringify(body),
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...(token ? { authorization: `Bearer ${token}` } : {}) },
    });
    const text = await response.text();
    let value = text;
    try { value = JSON.parse(text); } catch { /* not JSON */ }
    return { status: response.status, body: value, headers: response.headers };
  }

  /** Logs in and returns neko's answer, with `token`. */
  async login(username, admin = true) {
    const answer = await this.api('POST', '/api/login', { username, password: admin ? this.admin_password : this.user_password });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body;
  }

  /** A token of `/#token=…` for one login. */
  async link(admin = true) {
    this.keeper ??= await this.login('test');
    const answer = await this.api('POST', '/api/glasshouse/links', { admin }, this.keeper.token);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body.token;
  }

  /** All samples of /metrics: name with labels → value. */
  async metrics() {
    this.keeper ??= await this.login('test');
    const { status, body } = await this.api('GET', '/metrics', undefined, this.keeper.token);
    assert.equal(status, 200);
    return new Map(String(body).split('\n').filter((line) => line && !line.startsWith('#')).map((line) => {
      const space = line.lastIndexOf(' ');
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }));
  }

  /** Sum of a metric over its labels. */
  async metric(name) {
    let sum = 0;
    for (const [key, value] of await this.metrics()) if (key === name || key.startsWith(`${name}{`)) sum += value;
    return sum;
  }

  /** Everything that the session has started, itself first. */
  processes() { return tree(this.pid); }

  /** Ends the session and shows that nothing of it is left. */
  async stop(signal = 'SIGTERM') {
    const all = this.processes();
    if (!all.length) return this.seen.ended;
    process.kill(this.pid, signal);
    await until('the session ends', () => all.every((one) => !isAlive(one)));
    return this.seen.ended;
  }
}
