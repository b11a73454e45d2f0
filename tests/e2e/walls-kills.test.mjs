// However sessions end, nothing of them is left. GLASSHOUSE_KILLS says how many are killed.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { tree } from './lib/process.mjs';
import { start } from './lib/session.mjs';
import { until, within } from './lib/wait.mjs';

const COUNT = Number(process.env.GLASSHOUSE_KILLS ?? 20);

/** Sends a signal to a process that may have ended. */
const kill = (pid, signal) => { try { process.kill(pid, signal); } catch { /* it has */ } };

/** What /proc has of a process; nothing of one that has ended meanwhile. */
const fileOf = (pid, name) => { try { return readFileSync(`/proc/${pid}/${name}`, 'latin1'); } catch { return ''; } };

const list = (directory) => { try { return readdirSync(directory); } catch { return []; } };

/** A hierarchy of control groups in which we may make one: version 2, or the freezer of version 1. */
const hierarchy = readFileSync('/proc/self/mountinfo', 'latin1').split('\n').map((line) => line.split(' - '))
  .filter(([, kind]) => kind && (kind.startsWith('cgroup2 ') || /^cgroup .*\bfreezer\b/.test(kind)))
  .map(([mount, kind]) => {
    const line = readFileSync('/proc/self/cgroup', 'latin1').split('\n').find((one) => (kind.startsWith('cgroup2 ') ? one.startsWith('0::') : /:(.*,)?freezer(,.*)?:/.test(one)));
    return line && join(mount.split(' ')[4], line.split(':').slice(2).join(':'));
  }).find((path) => path && existsSync(join(path, 'cgroup.procs')));

/** Empty control groups of sessions anywhere: those of sessions that run have processes. One that goes while it is looked at makes `find` fail. */
const emptyGroups = () => spawnSync('find', ['/sys/fs/cgroup', '-maxdepth', '4', '-type', 'd', '-name', 'glasshouse-*'], { encoding: 'utf8' }).stdout
  .split('\n').filter((path) => { try { return path && readFileSync(join(path, 'cgroup.procs'), 'latin1') === ''; } catch { return false; } });

test(`${COUNT} sessions are killed in random ways, and nothing is left`, { skip: (process.getuid() !== 0 || !hierarchy) && 'needs root, and control groups' }, async (t) => {
  const place = mkdtempSync(join(tmpdir(), 'walls-kills-'));
  chmodSync(place, 0o755);
  const group = join(hierarchy, `walls-kills-${process.pid}`);
  mkdirSync(group);
  for (const name of ['run', 'x11', 'tmp']) mkdirSync(join(place, name), { mode: 0o1777 });
  t.after(() => {
    rmSync(place, { recursive: true });
    for (const path of below(group).reverse()) { try { rmdirSync(path); } catch { /* still in use */ } }
  });
  // Directories of its own for what sessions leave, and a control group that none of their processes can leave.
  const script = `echo 0 >${group}/cgroup.procs && mkdir -p /run/glasshouse /tmp/.X11-unix && mount --bind ${place}/run /run/glasshouse \
    && mount --bind ${place}/x11 /tmp/.X11-unix && exec "$@"`;
  const wrap = ['unshare', '--mount', 'sh', '-c', script, 'sh'];
  const below = (path) => [path, ...list(path).filter((name) => existsSync(join(path, name, 'cgroup.procs'))).flatMap((name) => below(join(path, name)))];
  const groups = () => below(group).slice(1);
  const processes = () => below(group).flatMap((path) => { try { return readFileSync(join(path, 'cgroup.procs'), 'latin1').split('\n').filter(Boolean); } catch { return []; } });
  const mounts = () => readFileSync('/proc/self/mountinfo', 'latin1').split('\n').length;
  const sockets = () => readFileSync('/proc/net/unix', 'latin1').split('\n').filter((line) => line.includes(place)).length;
  const before = { mounts: mounts(), empty: emptyGroups() };
  let seed = Number(process.env.GLASSHOUSE_SEED ?? Date.now() % 1e6);
  console.log(`GLASSHOUSE_SEED=${seed}`);
  const random = (below) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % below; };
  const ways = {
    'the server, in the middle of its start': null,
    'the server, SIGKILL': () => 'server',
    'the server, SIGTERM': () => 'term',
    'process 1 inside': (all) => all.find(({ pid }) => /^NSpid:\s+\d+\s+1$/m.test(fileOf(pid, 'status'))),
    'the keeper outside': (all, server) => all.find((one) => one.parent === server && one.name !== '.init' && /keeper/.test(fileOf(one.pid, 'cmdline')) && !/^NSpid:\s+\d+\s+1$/m.test(fileOf(one.pid, 'status'))),
    'any process': (all) => all[random(all.length)],
  };
  const run = (options) => start(['session', '--listen', '127.0.0.1:0', '--json', ...options], { wrap, env: { TMPDIR: join(place, 'tmp') } });
  const nextSession = async () => {
    const next = run(['--app', 'none', '--no-sound']);
    await until('the next session is ready', () => next.out.includes('\n'));
    kill(JSON.parse(next.out).pid, 'SIGTERM');
    await within('the next session ends', next.ended);
  };
  for (let number = 0; number < COUNT; number++) {
    const [way, choose] = Object.entries(ways)[number % Object.keys(ways).length];
    const options = [['--app', 'none', '--no-sound'], ['--app', 'none'], []][random(3)];
    const server = run(options);
    let over = false;
    server.ended.then(() => { over = true; });
    if (choose) {
      await until('the session is ready', () => over || server.out.includes('\n'));
      assert.ok(!over, server.err);
      const { pid } = JSON.parse(server.out);
      const chosen = choose(tree(pid), pid);
      if (chosen === 'term') kill(pid, 'SIGTERM');
      else if (chosen === 'server') kill(pid, 'SIGKILL');
      else {
        assert.ok(chosen, `${way}: ${JSON.stringify(tree(pid))}`);
        const isJanitor = chosen.pid === ways['the keeper outside'](tree(pid), pid)?.pid;
        kill(chosen.pid, 'SIGKILL');
        // Some deaths end the session and others do not; then the server is ended as well.
        const since = Date.now(), patience = random(500);
        await until('the session notices', () => over || Date.now() - since > patience);
        if (!over) {
          kill(pid, 'SIGKILL');
          // With both killed, nobody is left to clear away: that is for the next one to do.
          if (isJanitor) await nextSession();
        }
      }
    } else {
      const since = Date.now(), moment = random(600);
      await until('the moment comes', () => over || Date.now() - since >= moment);
      for (const { pid } of tree(server.pid).filter(({ name }) => name === 'glasshouse').slice(0, 1)) kill(pid, 'SIGKILL');
      server.child.kill('SIGKILL');
    }
    await within('the session ends', server.ended);
    const left = () => ({
      processes: processes(), groups: groups(), records: list(join(place, 'run', 'sessions')), directories: list(join(place, 'tmp')), displays: list(join(place, 'x11')),
      mounts: Math.max(0, mounts() - before.mounts), sockets: sockets(), empty: emptyGroups().filter((path) => !before.empty.includes(path)),
    });
    const isNothing = (seen) => Object.values(seen).every((value) => (Array.isArray(value) ? value.length === 0 : value === 0));
    await until(`nothing is left (session ${number}: ${way})`, () => isNothing(left())).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(left())}`); });
  }
});
