// What the creator of a session may ask for: limits, what it may reach, a proxy with a password that nobody sees.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, after, test } from 'node:test';
import { Fleet } from './lib/serve.mjs';
import { until } from './lib/wait.mjs';

const SECRET = 'hunter2hunter2';
let fleet, proxy;
const asked = [];

before(async () => {
  // A proxy that knows one user and has one page, whatever it is asked for.
  proxy = createServer();
  proxy.on('connect', ({ url, headers }, socket) => {
    socket.on('error', () => {});
    asked.push(url);
    const expected = `Basic ${Buffer.from(`joe:${SECRET}`).toString('base64')}`;
    if (headers['proxy-authorization'] !== expected) return socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    const page = '<!doctype html><title>through the proxy</title>';
    socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: ${page.length}\r\nConnection: close\r\n\r\n${page}`));
  });
  await new Promise((resolve) => { proxy.listen(0, '127.0.0.1', resolve); });
  fleet = await Fleet.start([], { session: ['--memory=1g'] });
});
after(() => { proxy?.closeAllConnections(); proxy?.close(); });

const upstream = () => `http://joe:${SECRET}@127.0.0.1:${proxy.address().port}`;

/** What /proc has of a process; nothing of one that has ended meanwhile, as some of Chromium's do after a moment. */
function fileOf(pid, name) {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(error.code)) return '';
    throw error;
  }
}

/** Titles of a session's tabs. */
async function titles(id) {
  const { body: driver } = await fleet.api('POST', `api/v1/sessions/${id}/cdp`);
  if (!driver.token) return [];
  const { body } = await fleet.api('GET', `s/${id}/json/list`, undefined, { token: driver.token });
  return body.filter(({ type }) => type === 'page').map(({ title }) => title);
}

test('wishes that make no sense, or go too far, are named', async () => {
  const { token } = await fleet.grant(['control']);
  const fields = async (spec, options) => {
    const { status, body } = await fleet.api('POST', 'api/v1/sessions', { app: 'none', ...spec }, options);
    assert.equal(status, 422, JSON.stringify(body));
    assert.ok(!JSON.stringify(body).includes(SECRET), JSON.stringify(body));
    return body.errors.map(({ field }) => field);
  };
  assert.deepEqual(await fields({ limits: { memory_mib: 1, pids: 1, cpu: 0, disk_mib: 1 } }), ['limits.memory_mib', 'limits.pids', 'limits.cpu', 'limits.disk_mib']);
  assert.deepEqual(await fields({ limits: { memory_mib: 'x' } }), ['limits.memory_mib']);
  assert.deepEqual(await fields({ limits: { memory_mib: 1025 } }), ['limits.memory_mib']);
  assert.deepEqual(await fields({ egress: { allow: ['ok.example', 'not ok'], deny: ['x:99999'], upstream_proxy: `gopher://joe:${SECRET}@h` } }),
    ['egress.allow.1', 'egress.deny.0', 'egress.upstream_proxy']);
  assert.deepEqual(await fields({ egress: { block_all: true, upstream_proxy: upstream() } }), ['egress.block_all']);
  assert.deepEqual(await fields({ egress: { allow: ['127.0.0.0/8'] } }, { token }), ['egress.allow.0']);
});

test('limits hold', async () => {
  const made = await fleet.command('new', '--app', 'none', '--no-sound', '--memory', '512m', '--pids', '200', '--cpu', '0.5', '--disk', '100m', '--json');
  assert.equal(made.code, 0, made.err);
  const { id, limits } = JSON.parse(made.out);
  assert.deepEqual(limits, { memory_mib: 512, pids: 200, cpu: 0.5, disk_mib: 100 });
  // Of the programs, that is, of what is below the keeper within the walls.
  const largest = () => fleet.processes(id).slice(1).map(({ pid }) => /^Max file size +(\d+|unlimited)/m.exec(fileOf(pid, 'limits'))?.[1]);
  await until('files have a limit', () => largest().includes(String(100 << 20))).catch((error) => { throw new Error(`${error.message} ${JSON.stringify(largest())}`); });
  assert.equal((await fleet.api('DELETE', `api/v1/sessions/${id}`)).body.state, 'terminated');
});

test('a proxy with a password is gone through, and the password is seen nowhere', async () => {
  const file = join(fleet.state, 'proxy');
  writeFileSync(file, `${upstream()}\n`);
  const made = await fleet.command('new', 'http://93.184.216.34/', '--no-sound', '--upstream-proxy-file', file, '--deny-host', '*.example', '--json');
  assert.equal(made.code, 0, made.err);
  const { id } = JSON.parse(made.out);
  await until('the page has come through the proxy', async () => (await titles(id)).includes('through the proxy'));
  assert.ok(asked.includes('93.184.216.34:80'), JSON.stringify(asked));
  const view = (await fleet.api('GET', `api/v1/sessions/${id}`)).body;
  assert.deepEqual(view.egress, { deny: ['*.example'], upstream_proxy: `http://127.0.0.1:${proxy.address().port}` });
  for (const { pid } of fleet.processes(id)) {
    for (const name of ['cmdline', 'environ']) assert.ok(!fileOf(pid, name).includes(SECRET), `${pid} ${name}`);
  }
  for (const place of [`api/v1/sessions/${id}/logs`, 'api/v1/audit', 'api/v1/sessions']) {
    assert.ok(!JSON.stringify((await fleet.api('GET', place)).body).includes(SECRET), place);
  }
  for (const name of ['fleet.db', 'fleet.db-wal']) assert.ok(!readFileSync(join(fleet.state, name), 'latin1').includes(SECRET), name);
  assert.equal((await fleet.api('DELETE', `api/v1/sessions/${id}`)).body.state, 'terminated');
});

test('who is no admin leads a session neither to this machine nor past a block', async () => {
  const { token } = await fleet.grant(['control', 'cdp']);
  const before = asked.length;
  for (const egress of [{ upstream_proxy: upstream() }, { block_all: true }]) {
    const { status, body } = await fleet.api('POST', 'api/v1/sessions?wait=60', { sound: false, url: 'http://93.184.216.34/', egress }, { token });
    assert.deepEqual([status, body.state], [201, 'ready'], JSON.stringify(body));
    await until('the browser says so', async () => (await titles(body.id)).some((title) => /blocked|cannot be reached/i.test(title)));
    assert.equal((await fleet.api('DELETE', `api/v1/sessions/${body.id}`)).body.state, 'terminated');
  }
  assert.equal(asked.length, before);
});

// A test and not a hook: what a failure leaves is cleared away before hooks of this file.
test('nothing is left at the end', async () => { assert.equal(await fleet.stop(), 0); });
