// Signing in with an OpenID provider: a real one, certified, that runs here; and one that lies in every way that we can think of.

import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import Provider from 'oidc-provider';
import { Fleet } from './lib/serve.mjs';
import { runToEnd } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

const folder = mkdtempSync(join(tmpdir(), 'gh-oidc-'));
const SECRET = 'a-secret-that-both-know-and-nobody-else-0123456789';
const secretFile = join(folder, 'secret');
writeFileSync(secretFile, `${SECRET}\n`, { mode: 0o600 });

const servers = new Set();
/** A server on a free port of loopback; `handle` may be given later. */
async function listen() {
  const server = createServer((request, response) => server.handle(request, response));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.add(server);
  return { server, url: `http://127.0.0.1:${server.address().port}` };
}

/** A fleet behind a provider. */
const behind = (issuer, ...more) => Fleet.start(['--oidc-issuer', issuer, '--oidc-client-id', 'glasshouse', '--oidc-client-secret-file', secretFile, ...more]);

let fleet, hostile, liar, browser, real;
before(async () => {
  real = await listen();
  // The redirect address has the server's port in it, which is known when it runs; it asks the provider for nothing before.
  fleet = await behind(real.url, '--oidc-admins', 'email=ann@example.com', '--oidc-users', 'groups=staff');
  const provider = new Provider(real.url, {
    clients: [{ client_id: 'glasshouse', client_secret: SECRET, redirect_uris: [`${fleet.url}api/v1/login/oidc/callback`] }],
    pkce: { required: () => true },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username', 'groups'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: id, preferred_username: `${id}!`, email: `${id}@example.com`, email_verified: id !== 'eve', groups: id === 'bob' ? ['guests', 'staff'] : ['guests'] }),
    }),
    cookies: { keys: ['some key'] },
  });
  real.server.handle = provider.callback();
  browser = await launch();
  liar = await Liar.start();
  // Its tests come from many addresses: one may begin only so often.
  hostile = await behind(liar.url, '--oidc-users', '*', '--trusted-proxy', '127.0.0.1');
});
after(async () => {
  await browser?.close();
  fleet?.kill();
  hostile?.kill();
  for (const server of servers) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  rmSync(folder, { recursive: true, force: true });
});

/** A person's way through the provider, to the console. */
async function comeAs(name) {
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.addresses = [];
  page.on('framenavigated', (frame) => page.addresses.push(frame.url()));
  await page.goto(fleet.url);
  await page.getByRole('link', { name: 'Single sign-on' }).click();
  await page.locator('input[name=login]').fill(name);
  await page.locator('input[name=password]').fill('whatever');
  await page.locator('button[type=submit]').click();
  // Consent.
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.waitForURL(`${fleet.url}**`);
  return page;
}
const person = (page) => page.evaluate(async () => (await (await fetch('api/v1/login')).json()).user);

test('with a real provider people get what the rules give them, and no code or token stays in an address', async () => {
  const bob = await comeAs('bob');
  await bob.getByTitle('Signed in as bob!').waitFor();
  assert.equal(bob.url(), fleet.url);
  assert.deepEqual(await person(bob), { name: 'bob!', powers: ['view', 'control', 'cdp'] });
  assert.equal(await bob.evaluate(() => document.cookie), '');
  const cookies = await bob.context().cookies(`${fleet.url}api/v1`);
  assert.deepEqual(cookies.filter(({ name }) => name.startsWith('glasshouse')).map(({ name, httpOnly, sameSite, path }) => [name, httpOnly, sameSite, path]), [['glasshouse_login', true, 'Strict', '/api/v1']]);
  assert.equal(await bob.evaluate(async () => (await fetch('api/v1/tokens')).status), 403);
  await bob.getByRole('button', { name: 'Sign out' }).click();
  await bob.getByRole('link', { name: 'Single sign-on' }).waitFor();
  await bob.context().close();

  const ann = await comeAs('ann');
  await ann.getByTitle('Signed in as ann!').waitFor();
  assert.deepEqual((await person(ann)).powers, ['admin']);
  assert.equal(await ann.evaluate(async () => (await fetch('api/v1/tokens')).status), 200);
  await ann.context().close();

  for (const name of ['eve', 'joe']) {
    const stranger = await comeAs(name);
    await stranger.getByText('Your account may not use this server').waitFor();
    assert.equal(stranger.url(), fleet.url);
    assert.equal(await person(stranger), null);
    await stranger.context().close();
  }
  const { entries } = (await fleet.api('GET', 'api/v1/audit')).body;
  assert.ok(entries.some(({ action, who }) => action === 'login' && who === `oidc:${real.url}#ann`));
  assert.ok(entries.some(({ action, detail }) => action === 'login.failed' && detail === 'oidc: stranger'));
  for (const text of [JSON.stringify(entries), fleet.seen.err]) assert.ok(!text.includes(SECRET) && !text.includes('eyJ'), text);
});

test('a code that was used brings nobody in a second time', async () => {
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  let back;
  page.on('request', (request) => { if (request.url().includes('/callback?')) back = request.url(); });
  await page.goto(fleet.url);
  await page.getByRole('link', { name: 'Single sign-on' }).click();
  await page.locator('input[name=login]').fill('bob');
  await page.locator('input[name=password]').fill('whatever');
  await page.locator('button[type=submit]').click();
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByTitle('Signed in as bob!').waitFor();
  const state = new URL(back).searchParams.get('state');
  const again = await fetch(back, { redirect: 'manual', headers: { cookie: `glasshouse_oidc=${state}` } });
  assert.deepEqual([again.status, again.headers.get('location')], [303, '/#signin=stale']);
  assert.ok(!again.headers.get('set-cookie').includes('glasshouse_login='));
  await context.close();
});

/** A provider that says what it is told to say. */
class Liar {
  key = generateKeyPairSync('rsa', { modulusLength: 2048 });
  foreign = generateKeyPairSync('rsa', { modulusLength: 2048 });
  /** What the next ID token differs in. */
  lie = {};
  asked = [];

  static async start() {
    const liar = new Liar();
    const { server, url } = await listen();
    liar.url = url;
    server.handle = (request, response) => void liar.#answer(request, response);
    return liar;
  }

  async #answer(request, response) {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { pathname } = new URL(request.url, this.url);
    this.asked.push({ pathname, body, authorization: request.headers.authorization });
    const json = (value) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    const jwk = { ...this.key.publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'RS256' };
    if (pathname === '/.well-known/openid-configuration') {
      json({
        issuer: this.lie.description ?? this.url, authorization_endpoint: `${this.url}/authorize`, token_endpoint: `${this.url}/token`, jwks_uri: `${this.url}/keys`,
        response_types_supported: ['code'], subject_types_supported: ['public'], id_token_signing_alg_values_supported: ['RS256'], scopes_supported: ['openid'],
        token_endpoint_auth_methods_supported: ['client_secret_basic'], claims_supported: ['sub'],
      });
    } else if (pathname === '/keys') json({ keys: [jwk] });
    else if (pathname === '/token') json({ access_token: 'access', token_type: 'Bearer', expires_in: 60, id_token: this.#token() });
    else response.writeHead(404).end();
  }

  #token() {
    const now = Math.floor(Date.now() / 1000);
    const { header, claims, by = 'key' } = this.lie;
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const all = { iss: this.url, aud: 'glasshouse', sub: 'sue', iat: now, exp: now + 60, nonce: this.nonce, ...claims };
    const text = `${part({ alg: 'RS256', kid: 'one', typ: 'JWT', ...header })}.${part(all)}`;
    if (by === 'nobody') return `${text}.`;
    if (by === 'secret') return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
    if (by === 'public key') return `${text}.${createHmac('sha256', this.key.publicKey.export({ type: 'spki', format: 'pem' })).update(text).digest('base64url')}`;
    return `${text}.${sign('RSA-SHA256', Buffer.from(text), this[by].privateKey).toString('base64url')}`;
  }
}

let addresses = 0;
/** Begins to sign in: where it leads, and the cookie. */
async function begin() {
  const response = await fetch(`${hostile.url}api/v1/login/oidc`, { redirect: 'manual', headers: { 'x-forwarded-for': `192.0.2.${++addresses}` } });
  const location = new URL(response.headers.get('location'), hostile.url);
  const state = location.searchParams.get('state');
  liar.nonce = location.searchParams.get('nonce');
  return { response, location, state, cookie: `glasshouse_oidc=${state}` };
}
/** Comes back from the provider: where that leads, and whether it has signed somebody in. */
async function end(query, cookie) {
  const response = await fetch(`${hostile.url}api/v1/login/oidc/callback?${new URLSearchParams(query)}`, { redirect: 'manual', headers: cookie ? { cookie } : {} });
  return [response.headers.get('location'), /glasshouse_login=ghl_/.test(response.headers.get('set-cookie') ?? '')];
}
const IN = ['/', true];
const out = (why) => [`/#signin=${why}`, false];
/** The whole way, with a lie of the provider's. */
async function come(lie) {
  liar.lie = lie;
  const { state, cookie } = await begin();
  return end({ code: 'code', state }, cookie);
}

test('what is sent along: PKCE by S256, state, nonce and an address of our own; the secret in a header only', async () => {
  const { response, location, state } = await begin();
  assert.equal(response.status, 303);
  assert.equal(location.origin + location.pathname, `${liar.url}/authorize`);
  const asked = Object.fromEntries(location.searchParams);
  assert.deepEqual([asked.response_type, asked.client_id, asked.code_challenge_method, asked.redirect_uri], ['code', 'glasshouse', 'S256', `${hostile.url}api/v1/login/oidc/callback`]);
  assert.match(asked.scope, /^openid\b/);
  assert.ok(asked.state.length >= 20 && asked.nonce.length >= 20 && asked.code_challenge.length === 43);
  assert.match(response.headers.get('set-cookie'), /^glasshouse_oidc=[^;]+; Path=\/api\/v1\/login\/oidc; HttpOnly; SameSite=Lax; Max-Age=600$/);
  liar.lie = {};
  liar.asked.length = 0;
  assert.deepEqual(await end({ code: 'the code', state, iss: liar.url, session_state: 'x' }, `glasshouse_oidc=${state}`), IN);
  const exchange = liar.asked.find(({ pathname }) => pathname === '/token');
  const sent = new URLSearchParams(exchange.body);
  assert.deepEqual([sent.get('code'), sent.get('grant_type'), sent.get('client_secret')], ['the code', 'authorization_code', null]);
  assert.equal(sent.get('code_verifier').length >= 43, true);
  assert.equal(Buffer.from(exchange.authorization.split(' ')[1], 'base64').toString(), `glasshouse:${SECRET}`);
});

test('a state that is wrong, foreign, used or of another browser leads nowhere', async () => {
  liar.lie = {};
  const one = await begin();
  const two = await begin();
  assert.deepEqual(await end({ code: 'c', state: 'made up' }, 'glasshouse_oidc=made up'), out('stale'));
  assert.deepEqual(await end({ code: 'c', state: one.state }), out('stale'), 'no cookie: another browser');
  assert.deepEqual(await end({ code: 'c', state: one.state }, two.cookie), out('stale'));
  assert.deepEqual(await end({ code: 'c' }, one.cookie), out('stale'));
  assert.deepEqual(await end({ state: one.state }, one.cookie), out('stale'));
  assert.deepEqual(await end({ error: 'access_denied', state: one.state }, one.cookie), out('denied'));
  assert.deepEqual(await end({ code: 'c', state: one.state }, one.cookie), out('stale'), 'it has ended with the error');
  assert.deepEqual(await end({ code: 'c', state: two.state }, two.cookie), IN);
  assert.deepEqual(await end({ code: 'c', state: two.state }, two.cookie), out('stale'), 'once only');
  const three = await begin();
  assert.deepEqual(await end({ code: 'c', state: three.state, iss: 'https://other.example' }, three.cookie), out('stale'), 'another provider (RFC 9207)');
});

test('an ID token that was not made for this login by this provider for us signs nobody in', async () => {
  const now = Math.floor(Date.now() / 1000);
  for (const [what, lie] of Object.entries({
    'another nonce': { claims: { nonce: 'of another login' } },
    'no nonce': { claims: { nonce: undefined } },
    'another audience': { claims: { aud: 'somebody-else' } },
    'several audiences': { claims: { aud: ['glasshouse', 'somebody-else'] } },
    'another issuer': { claims: { iss: 'https://other.example' } },
    'a time that is over': { claims: { iat: now - 7200, exp: now - 3600 } },
    'no subject': { claims: { sub: '' } },
    'no signature': { header: { alg: 'none' }, by: 'nobody' },
    'a foreign key': { by: 'foreign' },
    'the public key as a secret': { header: { alg: 'HS256' }, by: 'public key' },
    'an algorithm that the provider does not use': { header: { alg: 'HS256' }, by: 'secret' },
  })) assert.deepEqual(await come(lie), out('provider'), what);
  assert.deepEqual(await come({}), IN);
});

test('who begins too often has to wait', async () => {
  const answers = [];
  do answers.push(await fetch(`${hostile.url}api/v1/login/oidc`, { redirect: 'manual', headers: { 'x-forwarded-for': '198.51.100.1' } }));
  while (answers.at(-1).status === 303 && answers.length < 100);
  assert.equal(answers.at(-1).status, 429);
  assert.ok(answers.length > 10 && Number(answers.at(-1).headers.get('retry-after')) >= 1);
});

test('a browser is led to the provider or to the console, wherever it asks to be led', async () => {
  liar.lie = {};
  for (const query of ['next=https://evil.example', 'redirect_uri=https://evil.example', 'return_to=//evil.example']) {
    assert.equal((await fetch(`${hostile.url}api/v1/login/oidc?${query}`, { redirect: 'manual' })).status, 422, query);
  }
  // Nobody trusts this proxy.
  const forwarded = { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https', 'x-forwarded-prefix': '/evil' };
  const led = await fetch(`${fleet.url}api/v1/login/oidc`, { redirect: 'manual', headers: forwarded });
  assert.equal(new URL(led.headers.get('location')).searchParams.get('redirect_uri'), `${fleet.url}api/v1/login/oidc/callback`);
  const { state, cookie } = await begin();
  assert.deepEqual(await end({ code: 'c', state, next: 'https://evil.example', redirect_uri: 'https://evil.example' }, cookie), IN);
});

test('a provider that names another, or is away, is told to people in words; one that could let nobody or everybody in is refused at the start', async () => {
  const other = await Liar.start();
  other.lie = { description: 'https://other.example' };
  const one = await behind(other.url, '--oidc-users', '*');
  const asked = async (fleet) => (await fetch(`${fleet.url}api/v1/login/oidc`, { redirect: 'manual' })).headers.get('location');
  assert.equal(await asked(one), '/#signin=provider');
  await until('the log tells of it', () => /OpenID provider: its description/.test(one.seen.err));
  // It mends by itself.
  other.lie = {};
  assert.ok((await asked(one)).startsWith(`${other.url}/authorize?`));
  one.kill();
  const refused = async (...options) => {
    const { code, err } = await runToEnd(['serve', '--listen', '127.0.0.1:0', '--state', join(folder, 'state'), ...options]);
    assert.notEqual(code, 0);
    return err;
  };
  assert.match(await refused('--oidc-issuer', 'http://id.example', '--oidc-client-id', 'x', '--oidc-users', '*'), /https:\/\//);
  assert.match(await refused('--oidc-issuer', liar.url, '--oidc-client-id', 'x'), /--oidc-users or --oidc-admins/);
  assert.match(await refused('--oidc-issuer', liar.url, '--oidc-client-id', 'x', '--oidc-admins', '*'), /not everybody can be an admin/);
});
