// Child processes that cannot outlive the benchmark, and what they cost.

import { spawn } from 'node:child_process';
import { chownSync, mkdirSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { tmpdir } from 'node:os';

/** Uid and gid of the remote browsers and their X servers when the benchmark runs as root (Debian's `nobody`). */
export const UNPRIVILEGED = 65534;

const TICKS_PER_SECOND = 100; // USER_HZ, fixed in Linux's user interface
const live = new Set();

process.on('exit', () => { for (const child of live) child.killNow(); });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

/** A child in a process group of its own. The kernel kills it when the benchmark is gone, however it went. */
export class Child {
  /**
   * @param {string[]} command program and arguments
   * @param {{env?: object, log?: string, unprivileged?: boolean, mayRaisePriority?: boolean, stdout?: 'pipe', cwd?: string}} options
   *   `log`: file for its output; `mayRaisePriority`: keep CAP_SYS_NICE when unprivileged
   */
  constructor(command, { env = {}, log, unprivileged = false, mayRaisePriority = false, stdout, cwd } = {}) {
    const kept = mayRaisePriority ? ',+sys_nice' : '';
    const drop = unprivileged && process.getuid() === 0
      ? [`--reuid=${UNPRIVILEGED}`, `--regid=${UNPRIVILEGED}`, '--clear-groups', `--inh-caps=-all${kept}`, `--ambient-caps=-all${kept}`] : [];
    const output = log ? openSync(log, 'a') : 'ignore';
    this.name = command[0];
    this.log = log;
    this.process = spawn('setpriv', ['--pdeathsig=KILL', ...drop, '--', ...command], {
      env: { PATH: process.env.PATH, LANG: 'C.UTF-8', ...env }, cwd, detached: true, stdio: ['ignore', stdout ?? output, output],
    });
    if (log) closeSync(output);
    this.pid = this.process.pid;
    this.ended = new Promise((resolve) => {
      this.process.on('error', (error) => { live.delete(this); resolve(error.message); });
      this.process.on('exit', (code, signal) => { live.delete(this); resolve(signal ?? code); });
    });
    live.add(this);
  }

  get running() { return live.has(this); }

  killNow() {
    try { process.kill(-this.pid, 'SIGKILL'); } catch { /* already gone */ }
  }

  /** Ends the whole group: asked first, forced after two seconds. */
  async stop(signal = 'SIGTERM') {
    if (!this.running) return;
    try { process.kill(-this.pid, signal); } catch { /* already gone */ }
    const timer = setTimeout(() => this.killNow(), 2000);
    await this.ended;
    clearTimeout(timer);
    this.killNow();
  }

  /** The last lines of its log, for an error message. */
  tail() {
    try { return readFileSync(this.log, 'utf8').trim().split('\n').slice(-6).join('\n'); } catch { return ''; }
  }
}

/** CPU time of a process with all its threads (not its children), in seconds. */
export function cpuSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** CPU time of the threads of a process in seconds, by thread name. */
export function cpuByThread(pid, readdir) {
  const times = {};
  for (const tid of readdir(`/proc/${pid}/task`)) {
    try {
      const stat = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'utf8');
      const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      times[name] = (times[name] ?? 0) + (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
    } catch { /* the thread ended */ }
  }
  return times;
}

/** Resident memory of a process in MiB (VmRSS). */
export function residentMiB(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;
}

/** Runs `work` for its duration and returns the share of a core that a process used meanwhile, with the seconds measured. */
export async function cpuDuring(pid, seconds) {
  const cpu = cpuSeconds(pid), start = performance.now();
  await sleep(seconds * 1000);
  const elapsed = (performance.now() - start) / 1000;
  return { cpu_seconds: cpuSeconds(pid) - cpu, seconds: elapsed, core_percent: (100 * (cpuSeconds(pid) - cpu)) / elapsed };
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls `condition` until it returns something true. */
export async function until(what, condition, { timeout = 20000, every = 20 } = {}) {
  const deadline = performance.now() + timeout;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeout / 1000} s`);
    await sleep(every);
  }
}

/** A TCP port on loopback that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => resolve(port)); });
  });
}

const directories = new Set();
process.on('exit', () => { for (const path of directories) rmSync(path, { recursive: true, force: true }); });

/** A private directory that is removed at the end; owned by the unprivileged user if asked. */
export function scratch(name, { unprivileged = false } = {}) {
  const path = mkdtempSync(join(tmpdir(), `glasshouse-bench-${name}-`));
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (unprivileged && process.getuid() === 0) chownSync(path, UNPRIVILEGED, UNPRIVILEGED);
  directories.add(path);
  return path;
}
