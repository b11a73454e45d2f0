// Profiles that outlive their sessions: log-ins, one user at a time, archives out and in.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:http';
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Fleet } from './lib/serve.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

let fleet, site;
// What the page has told of itself when it was last opened.
let told = null;

const PAGE = `<!doctype html><title>site</title><script>
  const before = { cookie: document.cookie, stored: localStorage.getItem('name') };
  document.cookie = 'name=joe; max-age=86400';
  localStorage.setItem('name', 'joe');
  fetch('/told', { method: 'POST', body: JSON.stringify(before) });
</script>`;

before(async () => {
  site = createServer((request, response) => {
    let body = '';
    request.on('data', (bytes) => { body += bytes; });
    request.on('end', () => {
      if (request.url === '/told') told = JSON.parse(body);
      response.setHeader('content-type', 'text/html');
      response.end(request.url === '/' ? PAGE : '');
    });
  });
  await new Promise((resolve) => { site.listen(0, '127.0.0.1', resolve); });
  fleet = await Fleet.start([], { session: [`--expose=${site.address().port}`] });
});
after(() => { site?.closeAllConnections(); site?.close(); });

/** Opens the site in a session with a profile, and says what was there of an earlier visit; the session runs on. */
async function visit(profile) {
  told = null;
  const session = await fleet.create({ sound: false, url: `http://localhost:${site.address().port}/`, profile });
  await until('the page is open', () => told);
  return { session, told };
}
/** Bytes as a zstd frame of one block as it is (RFC 8878). */
function frame(bytes) {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(0xfd2fb528, 0);
  head.writeUInt8(0xa0, 4);
  head.writeUInt32LE(bytes.length, 5);
  head.writeUIntLE(bytes.length * 8 + 1, 9, 3);
  return Buffer.concat([head, bytes]);
}
/** Chromium writes cookies down every 30 s, and not when it ends. */
const written = (profile) => until('its cookie is written down', () =>
  readFileSync(join(fleet.state, 'profiles', profile, 'Default', 'Cookies'), 'latin1').includes('localhostname'), 2 * PATIENCE);
const end = async (id) => assert.equal((await fleet.api('DELETE', `api/v1/sessions/${id}`)).body.state, 'terminated');
const names = async () => (await fleet.api('GET', 'api/v1/profiles')).body.profiles.map(({ name }) => name);
const NEW = { cookie: '', stored: null };
const KNOWN = { cookie: 'name=joe', stored: 'joe' };

test('log-ins survive the session, for one session at a time', async () => {
  const first = await visit('joe');
  assert.deepEqual(first.told, NEW);
  assert.equal(first.session.profile, 'joe');
  const second = await fleet.api('POST', 'api/v1/sessions', { sound: false, profile: 'joe' });
  assert.equal(second.status, 409);
  assert.ok(second.body.detail.includes(first.session.id), second.body.detail);
  const listed = (await fleet.api('GET', 'api/v1/profiles')).body.profiles;
  assert.deepEqual(listed.map(({ name, session }) => [name, session]), [['joe', first.session.id]]);
  for (const [method, path] of [['DELETE', 'api/v1/profiles/joe'], ['GET', 'api/v1/profiles/joe/archive']]) {
    assert.equal((await fleet.api(method, path)).status, 409, method);
  }
  await written('joe');
  await end(first.session.id);
  const again = await visit('joe');
  assert.deepEqual(again.told, KNOWN);
  await end(again.session.id);
  const other = await visit('jane');
  assert.deepEqual(other.told, NEW);
  await end(other.session.id);
});

test('a profile is exported, deleted, and imported under another name', async () => {
  const archive = join(fleet.state, 'joe.tar.zst');
  const out = await fleet.command('profiles', 'export', 'joe', archive);
  assert.deepEqual([out.code, out.err], [0, '']);
  assert.equal(statSync(archive).mode & 0o777, 0o600);
  const rm = await fleet.command('profiles', 'rm', 'joe', 'jane');
  assert.deepEqual([rm.code, rm.err], [0, '']);
  assert.deepEqual(await names(), []);
  assert.equal((await fleet.api('DELETE', 'api/v1/profiles/joe')).status, 404);
  const back = await fleet.command('profiles', 'import', 'moved', archive);
  assert.deepEqual([back.code, back.err], [0, '']);
  assert.match((await fleet.command('profiles', 'ls')).out, /^moved +/m);
  const twice = await fleet.command('profiles', 'import', 'moved', archive);
  assert.deepEqual([twice.code, twice.err.includes('already')], [1, true], twice.err);
  const found = await visit('moved');
  assert.deepEqual(found.told, KNOWN);
  await end(found.session.id);
});

test('an archive that would leave its place is refused, and leaves nothing', async () => {
  const folder = join(fleet.state, 'bad');
  mkdirSync(folder);
  writeFileSync(join(folder, 'a'), 'x');
  symlinkSync('/etc/passwd', join(folder, 'link'));
  const put = (name, body) => fetch(`${fleet.url}api/v1/profiles/${name}/archive`, {
    method: 'PUT', body, headers: { authorization: `Bearer ${fleet.token}`, 'content-type': 'application/zstd' },
  });
  for (const [what, ...options] of [['above', '--transform=s,^,../,', 'a'], ['absolute', '-P', join(folder, 'a')], ['link', 'link']]) {
    const file = join(fleet.state, `${what}.tar`);
    execFileSync('tar', ['-cf', file, '-C', folder, ...options]);
    const response = await put('bad', frame(readFileSync(file)));
    const problem = await response.json();
    assert.deepEqual([response.status, problem.errors[0].field], [422, 'body'], `${what}: ${JSON.stringify(problem)}`);
  }
  assert.equal((await put('bad', 'junk')).status, 422);
  assert.equal((await put('-bad', 'junk')).status, 422);
  assert.equal((await fleet.api('DELETE', 'api/v1/profiles/..%2fs')).status, 404);
  assert.deepEqual(await names(), ['moved']);
  const { token } = await fleet.grant(['control']);
  assert.equal((await fleet.api('GET', 'api/v1/profiles/moved/archive', undefined, { token })).status, 403);
});

test('a profile is free again when its session, or the server, was killed', async () => {
  const { session } = await visit('moved');
  const [process_] = fleet.processes(session.id);
  process.kill(process_.pid, 'SIGKILL');
  await until('its end is noticed', async () => (await fleet.api('GET', `api/v1/sessions/${session.id}`)).body.state === 'failed');
  const next = await visit('moved');
  fleet.seen.child.kill('SIGKILL');
  await fleet.seen.ended;
  await fleet.serve();
  assert.equal((await fleet.api('POST', 'api/v1/sessions', { profile: 'moved' })).status, 409);
  await end(next.session.id);
  const last = await visit('moved');
  assert.deepEqual(last.told, KNOWN);
  await end(last.session.id);
});

// A test and not a hook: what a failure leaves is cleared away before hooks of this file.
test('nothing is left at the end', async () => { assert.equal(await fleet.stop(), 0); });
