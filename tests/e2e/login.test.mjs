// People who sign in with a password: the command that keeps the users file, the form, the cookie, what is whose, and what an attacker tries.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Fleet } from './lib/serve.mjs';
import { PROGRAM, ROOT } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

const OUT = join(ROOT, 'tests', 'out');
mkdirSync(OUT, { recursive: true });
const folder = mkdtempSync(join(tmpdir(), 'gh-users-'));
const file = join(folder, 'users');
const ANN = 'correct horse battery';
const BOB = 'staple of bob';

/** Runs `glasshouse user …` with a password on its standard input. */
const user = (options, password = '') => new Promise((resolve) => {
  const child = execFile(PROGRAM, ['user', ...options, '--users', file], { timeout: PATIENCE }, (error, out, err) => resolve({ code: error ? error.code ?? 1 : 0, out, err }));
  // One that refuses at once reads nothing.
  child.stdin.on('error', () => {});
  child.stdin.end(password);
});
const made = async (...given) => { const { code, err } = await user(...given); assert.equal(code, 0, err); };

let fleet, browser;
before(async () => {
  await made(['add', 'ann', '--role', 'admin'], `${ANN}\n`);
  await made(['add', 'bob'], BOB);
  // The tests speak from several addresses, which only a proxy can say.
  fleet = await Fleet.start(['--users', file, '--trusted-proxy', '127.0.0.1', '--allowed-host', 'desk.example']);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  fleet?.kill();
  rmSync(folder, { recursive: true, force: true });
});

/** Asks without a token: with a cookie, as a page of the server's, from an address. */
const ask = (method, path, body, { cookie, from = '192.0.2.1', headers = {} } = {}) => fleet.api(method, path, body, {
  token: null, headers: { 'x-forwarded-for': from, origin: fleet.origin, ...(cookie ? { cookie } : {}), ...headers },
});
const signIn = (name, password, options) => ask('POST', 'api/v1/login', { name, password }, options);
/** The cookie of somebody who signs in, and its attributes. */
async function cookieOf(name, password, options) {
  const { status, body, headers } = await signIn(name, password, options);
  assert.equal(status, 200, JSON.stringify(body));
  const [cookie, ...attributes] = headers.get('set-cookie').split('; ');
  return { cookie, attributes };
}
const audit = async () => (await fleet.api('GET', 'api/v1/audit?limit=1000')).body.entries;

test('the command keeps the file: for its owner only, passwords as Argon2id, mistakes named', async () => {
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const text = readFileSync(file, 'utf8');
  assert.match(text, /^ann:admin:\$argon2id\$v=19\$m=19456,t=2,p=1\$/m);
  assert.match(text, /^bob:user:\$argon2id\$/m);
  assert.ok(!text.includes(ANN) && !text.includes(BOB));
  assert.match((await user(['ls'])).out, /^ann +admin\nbob +user\n$/);
  for (const [options, password, told] of [
    [['add', 'bob'], 'long enough', /is there already/],
    [['add', 'eve'], 'short', /at least 8 characters/],
    [['add', 'e:ve'], 'long enough', /a name is/],
    [['add', 'eve', '--role', 'king'], 'long enough', /is no role/],
    [['passwd', 'eve'], 'long enough', /nobody called eve/],
    [['rm', 'eve'], '', /nobody called eve/],
  ]) {
    const { code, err } = await user(options, password);
    assert.notEqual(code, 0, options.join(' '));
    assert.match(err, told);
  }
  assert.equal(readFileSync(file, 'utf8'), text);
});

test('by the form one signs in, makes a session that opens, and signs out', async () => {
  const problems = [];
  const open = async (options) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    page.on('pageerror', (error) => problems.push(error.message));
    await page.goto(fleet.url);
    await page.getByLabel('Name').waitFor();
    return page;
  };
  const phone = await open({ viewport: { width: 390, height: 780 }, colorScheme: 'dark', isMobile: true, hasTouch: true });
  await phone.screenshot({ path: join(OUT, 'login-phone-dark.png') });
  assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than a phone');
  await phone.context().close();
  const dark = await open({ colorScheme: 'dark' });
  await dark.screenshot({ path: join(OUT, 'login-dark.png') });
  await dark.getByRole('button', { name: 'Sign in with a token' }).click();
  await dark.getByLabel('Token', { exact: true }).fill(fleet.token);
  await dark.keyboard.press('Enter');
  await dark.getByText('No session runs').waitFor();
  await dark.context().close();

  const page = await open();
  await page.screenshot({ path: join(OUT, 'login.png') });
  // With the keyboard alone.
  await page.keyboard.type('bob');
  await page.keyboard.press('Tab');
  await page.keyboard.type('wrong password');
  await page.keyboard.press('Enter');
  await page.getByText('The name or the password is wrong.').waitFor();
  await page.screenshot({ path: join(OUT, 'login-wrong.png') });
  await page.keyboard.type(BOB);
  await page.keyboard.press('Enter');
  await page.getByText('No session runs').waitFor();
  await page.getByTitle('Signed in as bob').waitFor();
  assert.equal(page.url(), fleet.url);
  assert.equal(await page.evaluate(() => document.cookie), '', 'no script reads the cookie');
  assert.equal(await page.evaluate(() => JSON.stringify({ ...sessionStorage, ...localStorage })), '{}');

  const created = await page.evaluate(async () => {
    const answer = await fetch('api/v1/sessions?wait=60', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ app: 'none', sound: false, name: 'bobs' }) });
    return { status: answer.status, body: await answer.json() };
  });
  assert.equal(created.status, 201, JSON.stringify(created.body));
  await page.getByRole('heading', { name: 'bobs' }).waitFor();
  await page.locator('.card').getByRole('link').click();
  await until('the picture', () => page.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0));
  // A tab of its own, which has nothing but the cookie.
  const other = await page.context().newPage();
  await other.goto(`${fleet.origin}${created.body.path}`);
  await until('the picture in another tab', () => other.evaluate(() => window.glasshouse?.state === 'live'));
  await page.goto(fleet.url);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('Name').waitFor();
  await until('the other tab is out of the room', () => other.evaluate(() => ['kicked', 'signed-out'].includes(window.glasshouse?.state)));
  await other.close();
  await page.reload();
  await page.getByLabel('Name').waitFor();
  assert.deepEqual(problems, []);
  await page.context().close();
});

test('people have sessions of their own, admins all; what is not theirs does not exist', async () => {
  const { cookie: bob } = await cookieOf('bob', BOB);
  const { cookie: ann } = await cookieOf('ann', ANN);
  const mine = (await ask('GET', 'api/v1/sessions', undefined, { cookie: bob })).body.sessions;
  assert.deepEqual(mine.map(({ name }) => name), ['bobs']);
  const theirs = await fleet.create({ app: 'none', sound: false, name: 'anns' });
  const paths = [['GET', ''], ['DELETE', ''], ['POST', '/freeze'], ['POST', '/cdp'], ['POST', '/links'], ['GET', '/screenshot'], ['GET', '/logs'], ['GET', '/events'], ['POST', '/join'], ['GET', '/share'], ['GET', '/usage']];
  for (const [method, end] of paths) {
    assert.equal((await ask(method, `api/v1/sessions/${theirs.id}${end}`, undefined, { cookie: bob })).status, 404, `${method} ${end}`);
  }
  for (const path of ['tokens', 'audit', 'profiles']) assert.equal((await ask('GET', `api/v1/${path}`, undefined, { cookie: bob })).status, 403, path);
  assert.equal((await ask('POST', 'api/v1/sessions', { app: 'none', profile: 'joe' }, { cookie: bob })).status, 422);
  assert.equal((await ask('GET', `api/v1/sessions/${mine[0].id}`, undefined, { cookie: bob })).status, 200);
  assert.deepEqual((await ask('GET', 'api/v1/sessions', undefined, { cookie: ann })).body.sessions.map(({ name }) => name).sort(), ['anns', 'bobs']);
  assert.equal((await ask('DELETE', `api/v1/sessions/${theirs.id}`, undefined, { cookie: ann })).status, 200);
  assert.ok((await audit()).some(({ who, action, target, origin }) => who === 'user:ann' && action === 'session.delete' && target === theirs.id && origin === '192.0.2.1'));
  const listed = (await ask('GET', 'api/v1/tokens', undefined, { cookie: ann })).body.tokens;
  assert.ok(listed.some(({ account }) => account === 'user:bob') && !JSON.stringify(listed).includes('ghl_'));
});

test('events are of sessions of their own', async () => {
  const { cookie } = await cookieOf('bob', BOB);
  const over = new AbortController();
  const stream = await fetch(`${fleet.url}api/v1/events`, { headers: { cookie }, signal: over.signal });
  assert.equal(stream.status, 200);
  let seen = '';
  const reading = (async () => { for await (const part of stream.body) seen += Buffer.from(part).toString(); })().catch(() => {});
  const theirs = await fleet.create({ app: 'none', sound: false });
  const [mine] = (await ask('GET', 'api/v1/sessions?name=bobs', undefined, { cookie })).body.sessions;
  assert.equal((await fleet.api('DELETE', `api/v1/sessions/${theirs.id}`)).status, 200);
  assert.equal((await ask('DELETE', `api/v1/sessions/${mine.id}`, undefined, { cookie })).status, 200);
  await until('the event of their own', () => seen.includes(mine.id) && seen.includes('terminated'));
  assert.ok(!seen.includes(theirs.id));
  // Of the ended one too.
  assert.equal((await ask('GET', `api/v1/sessions/${mine.id}/logs`, undefined, { cookie })).status, 200);
  over.abort();
  await reading;
});

test('the cookie goes to the API only, is Secure over TLS, and counts on the server’s own pages only', async () => {
  const { cookie, attributes } = await cookieOf('bob', BOB);
  assert.deepEqual(attributes, ['Path=/api/v1', 'HttpOnly', 'SameSite=Strict', 'Max-Age=43200']);
  const behind = await cookieOf('bob', BOB, { headers: { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'desk.example', 'x-forwarded-prefix': '/desk', origin: 'https://desk.example' } });
  assert.deepEqual(behind.attributes, ['Path=/desk/api/v1', 'HttpOnly', 'SameSite=Strict', 'Max-Age=43200', 'Secure']);
  const create = (headers) => ask('POST', 'api/v1/sessions', { app: 'none', name: '-' }, { cookie, headers });
  assert.equal((await create({})).status, 422, 'let in, and then refused for the name');
  assert.equal((await create({ origin: 'https://evil.example' })).status, 403);
  assert.equal((await create({ origin: 'null' })).status, 403);
  assert.equal((await create({ 'sec-fetch-site': 'cross-site' })).status, 403);
  assert.equal((await create({ 'sec-fetch-site': 'same-site' })).status, 403);
  const bare = await fleet.api('POST', 'api/v1/sessions', { app: 'none', name: '-' }, { token: null, headers: { cookie } });
  assert.equal(bare.status, 403, 'without an Origin');
  assert.equal((await ask('GET', 'api/v1/sessions', undefined, { cookie, headers: { 'sec-fetch-site': 'cross-site' } })).status, 403);
  assert.equal((await signIn('bob', BOB, { headers: { origin: 'https://evil.example' } })).status, 403, 'nobody is signed in from elsewhere');
  const form = await ask('POST', 'api/v1/login', `name=bob&password=${BOB}`, { headers: { 'content-type': 'application/x-www-form-urlencoded' } });
  assert.equal(form.status, 415);
  const secret = cookie.split('=')[1];
  assert.equal((await fleet.api('GET', 'api/v1/sessions', undefined, { token: secret })).status, 401, 'it is no token');
  assert.equal((await ask('GET', 'api/v1/sessions', undefined, { cookie: `glasshouse_login=${fleet.token}` })).status, 401, 'a token is no cookie');
  const out = await ask('DELETE', 'api/v1/login', undefined, { cookie });
  assert.equal(out.status, 204);
  assert.match(out.headers.get('set-cookie'), /^glasshouse_login=; .*Max-Age=0/);
  assert.equal((await ask('GET', 'api/v1/sessions', undefined, { cookie })).status, 401);
});

test('guessing is slowed by address and by name, whether or not the name exists; others still get in', async () => {
  /** Attempts until one is refused that has to wait for a while; all answers. */
  const guess = async (one) => {
    const answers = [];
    for (;;) {
      answers.push(await one(answers.length));
      assert.ok(answers.length < 100, 'nothing slows it');
      const wait = Number(answers.at(-1).headers.get('retry-after'));
      if (wait >= 4) break;
      // A busy machine has taken that long for the guesses before; the next one has to wait for the whole time.
      if (wait > 0) await pause(wait * 1_000);
    }
    assert.deepEqual(answers.slice(0, 10).map(({ status }) => status), Array(10).fill(401));
    assert.equal(answers.at(-1).status, 429);
    assert.equal(answers.at(-1).headers.get('content-type'), 'application/problem+json');
    return answers;
  };
  const [known] = await guess((index) => signIn('ann', `guess number ${index}`, { from: `198.51.100.${index + 1}` }));
  assert.equal((await signIn('ann', ANN, { from: '198.51.100.200' })).status, 429, 'not even with the right password, until the time is over');
  const [unknown] = await guess((index) => signIn('nobody', `guess number ${index}`, { from: `198.51.100.${index + 101}` }));
  assert.deepEqual(known.body, unknown.body, 'the answers tell nothing of the name');
  // One address, many names.
  await guess((index) => signIn(`name${index}`, 'some guess', { from: '2001:db8::1' }));
  assert.equal((await signIn('bob', BOB, { from: '2001:db8::ffff' })).status, 429, 'a household is one address');
  assert.equal((await signIn('bob', BOB, { from: '2001:db8:0:1::1' })).status, 200);
  const all = await audit();
  assert.ok(all.some(({ action, target, origin }) => action === 'login.failed' && target === 'ann' && origin.startsWith('198.51.100.')));
  assert.ok(!all.some(({ target }) => target === 'nobody'), 'what nobody is called may be a password');
  for (const text of [JSON.stringify(all), fleet.seen.err, fleet.seen.out]) assert.ok(![ANN, BOB, 'guess number', 'ghl_'].some((secret) => text.includes(secret)));
});

test('a change of the file counts at once, and a login outlives the server', async () => {
  const from = '203.0.113.7';
  await made(['add', 'cat', '--role', 'view,control'], 'nine long lives');
  const { cookie } = await cookieOf('cat', 'nine long lives', { from });
  const status = async (which = cookie) => (await ask('GET', 'api/v1/sessions', undefined, { cookie: which, from })).status;
  assert.equal(await status(), 200);
  fleet.seen.child.kill('SIGKILL');
  await fleet.seen.ended;
  await fleet.serve();
  assert.equal(await status(), 200);
  await made(['passwd', 'cat'], 'ten longer lives');
  assert.equal(await status(), 401, 'a new password ends what the old one began');
  assert.equal((await signIn('cat', 'nine long lives', { from })).status, 401);
  const again = await cookieOf('cat', 'ten longer lives', { from });
  assert.equal(await status(again.cookie), 200);
  await made(['rm', 'cat']);
  assert.equal(await status(again.cookie), 401);
  assert.equal((await signIn('cat', 'ten longer lives', { from })).status, 401);
});
