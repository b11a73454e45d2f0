// A part of this machine for one server and its sessions: what they take can be counted, and nothing else is in it.

import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, rmdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const list = (directory) => { try { return readdirSync(directory); } catch { return []; } };
const text = (path) => { try { return readFileSync(path, 'latin1'); } catch { return ''; } };

/** A hierarchy of control groups in which we may make one: version 2, or the freezer of version 1. */
const hierarchy = text('/proc/self/mountinfo').split('\n').map((line) => line.split(' - '))
  .filter(([, kind]) => kind && (kind.startsWith('cgroup2 ') || /^cgroup .*\bfreezer\b/.test(kind)))
  .map(([mount, kind]) => {
    const line = text('/proc/self/cgroup').split('\n').find((one) => (kind.startsWith('cgroup2 ') ? one.startsWith('0::') : /:(.*,)?freezer(,.*)?:/.test(one)));
    return line && join(mount.split(' ')[4], line.split(':').slice(2).join(':'));
  }).find((path) => path && existsSync(join(path, 'cgroup.procs')));

/** Why there can be no such place here, if so. */
export const lacking = process.getuid() !== 0 || !hierarchy ? 'needs root, and control groups' : null;

const below = (path) => [path, ...list(path).filter((name) => existsSync(join(path, name, 'cgroup.procs'))).flatMap((name) => below(join(path, name)))];

/** Empty control groups of sessions anywhere: those of sessions that run have processes. One that goes while it is looked at makes `find` fail. */
const emptyGroups = () => spawnSync('find', ['/sys/fs/cgroup', '-maxdepth', '5', '-type', 'd', '-name', 'glasshouse-*'], { encoding: 'utf8' }).stdout
  .split('\n').filter((path) => path && existsSync(join(path, 'cgroup.procs')) && text(join(path, 'cgroup.procs')) === '');

const mounts = (pid) => text(`/proc/${pid}/mountinfo`).split('\n').length;

const places = new Set();
process.on('exit', () => { for (const place of places) place.close(); });

export class Place {
  directory = mkdtempSync(join(tmpdir(), 'gh-soak-'));
  group = join(hierarchy, `glasshouse.soak.${process.pid}`);

  constructor() {
    places.add(this);
    chmodSync(this.directory, 0o755);
    mkdirSync(this.group);
    for (const name of ['run', 'x11', 'tmp']) mkdirSync(join(this.directory, name), { mode: 0o1777 });
    this.before = { mounts: mounts('self'), empty: emptyGroups() };
    this.env = { TMPDIR: join(this.directory, 'tmp') };
    // Directories of its own for what sessions leave, and a control group that none of their processes can leave.
    const script = `echo 0 >${this.group}/cgroup.procs && mkdir -p /run/glasshouse /tmp/.X11-unix && mount --bind ${this.directory}/run /run/glasshouse \
      && mount --bind ${this.directory}/x11 /tmp/.X11-unix && exec "$@"`;
    /** What a command is put behind to be in this place. */
    this.wrap = ['unshare', '--mount', 'sh', '-c', script, 'sh'];
  }

  /** Numbers of all processes in it. */
  processes() {
    return below(this.group).flatMap((path) => text(join(path, 'cgroup.procs')).split('\n').filter(Boolean).map(Number));
  }

  /** Names of the records of sessions that run, or that were left. */
  records() { return list(join(this.directory, 'run', 'sessions')); }

  /** User ids that are locked for sessions, and how many ever were. */
  users() {
    const locked = text('/proc/locks');
    const files = list(join(this.directory, 'run', 'uids')).map((name) => [name, statSync(join(this.directory, 'run', 'uids', name)).ino]);
    return { locked: files.filter(([, inode]) => new RegExp(`:${inode} `).test(locked)).map(([name]) => name), seen: files.length };
  }

  /** Everything that is not as it was before, empty when nothing is; `state` is a directory whose sockets count too. */
  left(state) {
    const seen = {
      processes: this.processes(), groups: below(this.group).slice(1), records: this.records(), users: this.users().locked,
      directories: list(join(this.directory, 'tmp')), displays: list(join(this.directory, 'x11')),
      mounts: Math.max(0, mounts('self') - this.before.mounts),
      sockets: text('/proc/net/unix').split('\n').filter((line) => line.includes(this.directory) || (state && line.includes(state))).length,
      empty: emptyGroups().filter((path) => !this.before.empty.includes(path)),
    };
    return Object.fromEntries(Object.entries(seen).filter(([, value]) => (Array.isArray(value) ? value.length : value) > 0));
  }

  /** Ends what is still in it, all of which it has started, and removes it. */
  close() {
    if (!places.delete(this)) return;
    for (const pid of this.processes()) { try { process.kill(pid, 'SIGKILL'); } catch { /* it has ended */ } }
    for (const path of below(this.group).reverse()) { try { rmdirSync(path); } catch { /* still in use */ } }
    rmSync(this.directory, { recursive: true, force: true });
  }
}
