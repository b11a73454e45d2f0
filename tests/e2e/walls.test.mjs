// What is within the walls of a session stays there, and what is outside cannot be reached.

import assert from 'node:assert/strict';
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { exposed, PROGRAM, runToEnd, Session } from './lib/session.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

/** The session's directory on this machine; HOME of its programs is `home` in it. */
const home = (session) => join(dirname(dirname(session.xauthority)), 'home');

const commandLine = ({ pid }) => { try { return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' '); } catch { return ''; } };
const status = ({ pid }) => {
  const text = readFileSync(`/proc/${pid}/status`, 'latin1');
  return (name) => new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(text)?.[1].trim();
};
const namespace = (pid, name) => readlinkSync(`/proc/${pid}/ns/${name}`);

/** What is seen of a process; null when it has ended meanwhile, as some of Chromium's do after a moment. */
const whileThere = (look) => {
  try {
    return look();
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(error.code)) return null;
    throw error;
  }
};

/** Runs a shell script in a session until it has written `done`; returns what it has written, by name. */
async function inside(t, script, names, options = [], { patience, ...settings } = {}) {
  const session = await Session.start(['--no-sound', ...options, '--', '/bin/sh', '-c', `${script}\necho done >"$HOME/done"; exec sleep 100000`], settings);
  t.after(() => session.stop());
  await until('the script ends', () => existsSync(join(home(session), 'done')), patience);
  return { session, ...Object.fromEntries(names.map((name) => [name, readFileSync(join(home(session), name), 'utf8')])) };
}

test('the X server gets the keymap that was compiled ahead, and any other from xkbcomp', async (t) => {
  const script = 'head -c 2 /usr/bin/xkbcomp >"$HOME/kind"; setxkbmap de; xkbcomp "$DISPLAY" - >"$HOME/keymap" 2>&1';
  const { session, kind, keymap } = await inside(t, script, ['kind', 'keymap']);
  assert.equal(kind, '#!');
  assert.match(keymap, /udiaeresis/);
  // The one at the start was there; the German one was not.
  const log = readFileSync(join(dirname(dirname(session.xauthority)), 'log', 'x-server'), 'latin1');
  assert.equal(log.split('was not compiled ahead').length - 1, 1, log);
});

test('renderers have a filter, namespaces and no rights, below those of the session', async (t) => {
  const session = await Session.start(['--url', 'data:text/html,<title>x</title>']);
  t.after(() => session.stop());
  const renderers = await until('renderers with their own filter', () => {
    const all = session.processes().filter((one) => commandLine(one).includes('--type=renderer'));
    return all.length > 0 && all.every((one) => status(one)('Seccomp_filters') === '3') && all;
  });
  const [browser] = session.processes().filter((one) => one.name === 'chromium' && !commandLine(one).includes('--type='));
  assert.ok(!commandLine(browser).includes('--no-sandbox'));
  for (const one of renderers) {
    const names = ['user', 'pid', 'net'];
    const seen = whileThere(() => ({ fields: ['Seccomp', 'NoNewPrivs', 'CapEff'].map(status(one)), of: names.map((name) => namespace(one.pid, name)) }));
    if (!seen) continue;
    assert.deepEqual(seen.fields, ['2', '1', '0000000000000000']);
    names.forEach((name, index) => assert.notEqual(seen.of[index], namespace(browser.pid, name), name));
  }
  // Everything in the session is confined, not the renderers alone.
  const own = await until('all programs of the desktop run', () => {
    const all = session.processes().filter(({ pid }) => (whileThere(() => namespace(pid, 'pid')) ?? namespace('self', 'pid')) !== namespace('self', 'pid'));
    return ['Xvnc', 'openbox', 'pulseaudio'].every((program) => all.some(({ name }) => name === program)) && all;
  });
  const spaces = ['user', 'pid', 'mnt', 'ipc', 'uts', 'cgroup', 'net'];
  for (const one of own) {
    const seen = whileThere(() => ({ field: status(one), of: Object.fromEntries(spaces.map((name) => [name, namespace(one.pid, name)])) }));
    if (!seen) continue;
    const { field, of } = seen;
    assert.deepEqual([field('Seccomp'), field('NoNewPrivs')], ['2', '1'], one.name);
    if (of.user === namespace(browser.pid, 'user')) {
      assert.deepEqual(['CapEff', 'CapPrm', 'CapInh', 'CapBnd', 'CapAmb'].map(field), Array(5).fill('0000000000000000'), one.name);
    }
    for (const name of spaces) assert.notEqual(of[name], namespace('self', name), `${one.name}: ${name}`);
  }
});

test('no foreign process, file, socket or shared memory is seen', async (t) => {
  const other = await Session.start(['--app', 'none', '--no-sound']);
  t.after(() => other.stop());
  const secret = mkdtempSync(join(tmpdir(), 'walls-secret-'));
  t.after(() => rmSync(secret, { recursive: true }));
  writeFileSync(join(secret, 'file'), 'secret', { mode: 0o644 });
  const seen = await inside(t, `
    cat /proc/[0-9]*/comm | sort -u >"$HOME/processes"
    ls -A /tmp /tmp/.X11-unix /home /run /run/glasshouse /root /mnt /srv /var/lib >"$HOME/files" 2>&1
    cat ${secret}/file >"$HOME/secret" 2>&1
    cat /proc/net/unix >"$HOME/sockets"
    ls /sys/class/net /proc/sys/net/ipv4/conf >"$HOME/interfaces" 2>&1
    cat /proc/mounts >"$HOME/mounts"
    ls /dev >"$HOME/devices"
    env >"$HOME/environment"
    (touch /usr/x || touch /etc/x || touch /x) 2>/dev/null && echo written >"$HOME/system" || echo refused >"$HOME/system"
    `, ['processes', 'files', 'secret', 'sockets', 'mounts', 'devices', 'environment', 'system', 'interfaces'], [], { env: { SECRET_OF_THE_HOST: 'secret' } });
  assert.deepEqual(seen.processes.trim().split('\n').filter((name) => !['cat', 'sort', 'sh', 'dash', 'glasshouse', '.init', 'Xvnc', 'openbox'].includes(name)), []);
  const [, display] = /:(\d+)/.exec(other.display);
  assert.ok(!seen.files.includes(`X${display}\n`), seen.files);
  assert.ok(!seen.files.includes('glasshouse-'), seen.files);
  assert.ok(!seen.secret.includes('secret\n') && /No such file/.test(seen.secret), seen.secret);
  assert.ok(!seen.sockets.includes('glasshouse-display'), 'abstract sockets of the host');
  assert.deepEqual(seen.interfaces.match(/eth\w*|en\w+|docker\w*|veth\w*/g), null);
  for (const line of seen.mounts.trim().split('\n')) {
    const [, target, kind, options] = line.split(' ');
    const writable = options.split(',').includes('rw');
    const own = kind === 'tmpfs' || kind === 'proc' || kind === 'devpts' || /^\/(home\/user|profile|run|dev|tmp|proc)(\/|$)/.test(target);
    assert.ok(!writable || own, `writable: ${line}`);
    assert.ok(options.split(',').includes('nosuid'), `set-user-id programs work: ${line}`);
  }
  assert.deepEqual(seen.devices.trim().split('\n').sort(), ['fd', 'full', 'null', 'ptmx', 'pts', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'tty', 'urandom', 'zero']);
  assert.ok(!seen.environment.includes('SECRET_OF_THE_HOST'));
  assert.equal(seen.system.trim(), 'refused');
});

/** Serves one page and counts who asks for it. */
async function page(t, text, isExposed) {
  let hits = 0;
  const server = createServer((_, response) => { hits += 1; response.writeHead(200, { 'content-type': 'text/html' }).end(text); });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  if (isExposed) exposed.add(port);
  t.after(() => { exposed.delete(port); server.closeAllConnections(); return new Promise((resolve) => server.close(resolve)); });
  return { port, hits: () => hits };
}

/** Loads pages in a headless Chromium within walls; returns what each became. */
async function load(t, urls, options = []) {
  const script = `for program in /usr/lib/chromium/chromium /usr/bin/chromium /usr/bin/google-chrome; do [ -x $program ] && break; done
    n=0; for url in ${urls.map((url) => `'${url}'`).join(' ')}; do
      timeout 60 $program --headless --user-data-dir=/tmp/profile --proxy-server=$http_proxy '--proxy-bypass-list=<-loopback>' --dump-dom "$url" >"$HOME/page$n" 2>"$HOME/log$n"; n=$((n+1)); done`;
  const seen = await inside(t, script, urls.map((_, index) => `page${index}`), options, { patience: PATIENCE + urls.length * 20_000 });
  return urls.map((_, index) => seen[`page${index}`]);
}

test('the host and private networks are refused with an explanation; exposed ports are not', async (t) => {
  const hidden = await page(t, '<p>hidden from sessions', false);
  const shown = await page(t, '<p>shown to sessions', true);
  const refused = [
    `http://127.0.0.1:${hidden.port}/`, `http://localhost:${hidden.port}/`, `http://0x7f.1:${hidden.port}/`, `http://[::1]:${hidden.port}/`,
    `http://host.glasshouse:${hidden.port}/`, 'http://169.254.169.254/latest/meta-data/', 'http://2852039166/', 'http://[::ffff:169.254.169.254]/',
    'http://10.0.0.1/', 'http://192.168.1.1/',
  ];
  const allowed = ['127.0.0.1', 'localhost', 'host.glasshouse'].map((host) => `http://${host}:${shown.port}/`);
  const pages = await load(t, [...refused, ...allowed]);
  refused.forEach((url, index) => assert.match(pages[index], /This page is blocked[\s\S]*runs in an isolated session/, url));
  allowed.forEach((url, index) => assert.match(pages[refused.length + index], /shown to sessions/, url));
  assert.equal(hidden.hits(), 0);
  assert.ok(shown.hits() >= allowed.length);
});

const hasFirefox = ['/usr/bin/firefox-esr', '/usr/bin/firefox'].some((path) => existsSync(path));
test('Firefox keeps its sandbox, and goes the same way', { skip: !hasFirefox && 'there is no Firefox' }, async (t) => {
  const shown = await page(t, '<p>shown to Firefox', true);
  const session = await Session.start(['--app', 'firefox', '--no-sound', '--url', `http://127.0.0.1:${shown.port}/`]);
  t.after(() => session.stop());
  await until('the page is asked for', () => shown.hits() > 0);
});

test('no way out at all, and lists of hosts', async (t) => {
  const shown = await page(t, '<p>shown', true);
  const [blocked] = await load(t, ['http://example.com/'], ['--deny-host', '*']);
  assert.match(blocked, /example\.com is on the list of what is denied/);
  const [unlisted, ok] = await load(t, ['http://example.org/', `http://localhost:${shown.port}/`], ['--allow-host', 'example.com']);
  assert.match(unlisted, /example\.org is not on the list of what is allowed/);
  assert.match(ok, /shown/);
  exposed.delete(shown.port);
  const [nothing] = await load(t, ['http://example.com/'], ['--block-all']);
  assert.match(nothing, /this session has no network/);
});

test('memory, processes and disk are limited, and members are told', { skip: process.getuid() !== 0 && 'needs cgroups' }, async (t) => {
  const hungry = await Session.start(['--no-sound', '--memory', '300m', '--pids', '60', '--on-exit', 'restart', '--', '/bin/sh', '-c', `
    [ -e "$HOME/once" ] || { : >"$HOME/once"; tail /dev/zero; echo $? >"$HOME/tail"; for i in $(seq 200); do sleep 100000 & done; }
    exec sleep 100000`], { env: { RUST_LOG: 'warn' } });
  t.after(() => hungry.stop());
  await until('both limits are told of in the log', () => /has used up its memory/.test(hungry.seen.err) && /as many processes as it may/.test(hungry.seen.err));
  assert.equal(readFileSync(join(home(hungry), 'tail'), 'utf8').trim(), '137');
  assert.equal((await hungry.api('GET', '/healthz')).status, 200, 'the session goes on');
  const { code, err } = await runToEnd(['session', '--listen', '127.0.0.1:0', '--no-sound', '--disk', '48m', '--', '/bin/sh', '-c', 'n=0; while :; do head -c 4194304 /dev/zero >"$HOME/$n"; n=$((n+1)); sleep 0.02; done']);
  assert.equal(code, 0, err);
  assert.match(err, /session ended: the session has filled its disk: \d+ of 48 MiB/);
});

test('an ordinary user has the same walls, and its sessions sleep without control groups', { skip: process.getuid() !== 0 && 'the other tests are that already' }, async (t) => {
  const user = 64_321;
  const place = mkdtempSync(join(tmpdir(), 'walls-user-'));
  t.after(() => rmSync(place, { recursive: true }));
  chmodSync(place, 0o755);
  const program = join(place, 'glasshouse');
  copyFileSync(PROGRAM, program);
  chmodSync(program, 0o755);
  for (const name of ['runtime', 'tmp']) { mkdirSync(join(place, name), { mode: 0o700 }); chownSync(join(place, name), user, user); }
  writeFileSync(join(place, 'tmp', 'diary'), 'dear diary');
  chownSync(join(place, 'tmp', 'diary'), user, user);
  // A change of user undoes that we end with our parent.
  const wrap = ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--inh-caps=-all', '--', 'setpriv', '--pdeathsig=KILL', '--', 'sh', '-c', `shift; exec ${program} "$@"`, 'sh'];
  const seen = await inside(t, `id -u >"$HOME/id"; cat ${place}/tmp/diary >"$HOME/diary" 2>&1; cat /proc/net/unix >"$HOME/sockets"; grep -E 'Seccomp:|NoNewPrivs|CapEff' /proc/self/status >"$HOME/status"`,
    ['id', 'diary', 'sockets', 'status'], [], { wrap, env: { XDG_RUNTIME_DIR: join(place, 'runtime'), TMPDIR: join(place, 'tmp') } });
  assert.equal(seen.id.trim(), '1000');
  assert.ok(!seen.diary.includes('dear'), seen.diary);
  assert.ok(!seen.sockets.includes('glasshouse-display'));
  assert.deepEqual(seen.status.match(/[0-9a-f]+$/gm), ['0000000000000000', '1', '2']);
  const { session } = seen;
  for (const one of session.processes()) assert.equal(whileThere(() => Number(status(one)('Uid').split(/\s/)[0])) ?? user, user);
  const within = () => session.processes().filter(({ pid }) => namespace(pid, 'pid') !== namespace('self', 'pid'));
  const { token } = await session.login('admin');
  assert.equal((await session.api('POST', '/api/glasshouse/freeze', undefined, token)).status, 204);
  assert.ok(within().length > 2);
  // A busy machine's may still be leaving their processors.
  await until('all are stopped', () => within().every((one) => status(one)('State')[0] === 'T'));
  assert.equal((await session.api('POST', '/api/glasshouse/thaw', undefined, token)).status, 204);
  await until('none is stopped', () => within().every((one) => status(one)('State')[0] !== 'T'));
});

test('isolation is switched off by name only, and what is wrong is said', async () => {
  const base = ['session', '--listen', '127.0.0.1:0', '--json'];
  for (const [options, expected] of [
    [['--isolation', 'no'], /possible values: walls, none/], [['--memory', '1m'], /too little/], [['--expose', '0'], /expose/], [['--allow-host', 'a b'], /not a host/],
    [['--upstream-proxy', 'http://me:secret@proxy:1'], /credentials/], [['--upstream-proxy', 'ftp://proxy'], /unknown scheme/], [['--cpu', '0'], /processors/],
  ]) {
    const { code, err } = await runToEnd([...base, ...options]);
    assert.ok(code > 0, err);
    assert.match(err, expected);
    assert.ok(!err.includes('secret@'));
  }
});

test('a host that forbids namespaces is told of, with the remedy', async (t) => {
  const runtime = mkdtempSync(join(tmpdir(), 'walls-runtime-'));
  t.after(() => rmSync(runtime, { recursive: true }));
  // The second name space is the last that the first allows.
  const script = 'echo 1 >/proc/sys/user/max_user_namespaces && exec unshare --user --map-user=1000 "$@"';
  const { code, err } = await runToEnd(['session', '--listen', '127.0.0.1:0', '--json'], {
    wrap: ['unshare', '--user', '--map-root-user', 'sh', '-c', script, 'sh'], env: { XDG_RUNTIME_DIR: runtime },
  });
  assert.ok(code > 0);
  assert.match(err, /^error: cannot build the walls of the session: clone into new namespaces: .*allow unprivileged user namespaces.*--isolation=none/m);
});

test('a root without user ids for sessions is told of, with the remedy', { skip: process.getuid() !== 0 && 'only root' }, async () => {
  const { code, err } = await runToEnd(['session', '--listen', '127.0.0.1:0', '--json'], { wrap: ['unshare', '--user', '--map-root-user'] });
  assert.ok(code > 0);
  assert.match(err, /^error: .*user id.*run glasshouse as an ordinary user.*--isolation=none/m);
});
