// TLS of the server's own: pages, WebSockets and the command line; a certificate that changes; http that leads to https.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request as http } from 'node:http';
import { request as https } from 'node:https';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect } from 'node:tls';
import WebSocket from 'ws';
import { Fleet } from './lib/serve.mjs';
import { runToEnd } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

const folder = mkdtempSync(join(tmpdir(), 'gh-tls-'));
const [certificate, key] = ['cert.pem', 'key.pem'].map((name) => join(folder, name));
/** Makes a certificate of its own authority, over what is there. */
function certify(name) {
  const fresh = ['new-cert.pem', 'new-key.pem'].map((file) => join(folder, file));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', `/CN=${name}`,
    '-addext', `subjectAltName=DNS:${name},IP:127.0.0.1`, '-keyout', fresh[1], '-out', fresh[0]], { stdio: 'ignore' });
  renameSync(fresh[1], key);
  renameSync(fresh[0], certificate);
}
/** An address of this machine that is not loopback, if it has one. */
const outside = Object.values(networkInterfaces()).flat().find(({ family, internal }) => family === 'IPv4' && !internal)?.address;

let fleet, users, session;
before(async () => {
  certify('desk.example');
  users = join(folder, 'users');
  const made = execFileSync(process.env.GLASSHOUSE_BIN ?? join(import.meta.dirname, '..', '..', 'target', 'debug', 'glasshouse'), ['user', 'add', 'bob', '--users', users], { input: 'staple of bob' });
  assert.equal(made.length, 0);
  fleet = await Fleet.start(['--tls-cert', certificate, '--tls-key', key, '--users', users, '--allowed-host', 'desk.example']);
  session = await createOver();
});
after(() => {
  fleet?.kill();
  rmSync(folder, { recursive: true, force: true });
});

const port = () => Number(new URL(fleet.first.listen.startsWith('http') ? fleet.first.listen : `http://${fleet.first.listen}`).port);
/** Asks over TLS with the present certificate as authority: status, headers, body. */
const ask = (method, path, { body, headers = {}, host = 'desk.example' } = {}) => new Promise((resolve, reject) => {
  const request = https({ host: '127.0.0.1', port: port(), servername: host, path, method, ca: readFileSync(certificate), headers: { host: `${host}:${port()}`, ...(body ? { 'content-type': 'application/json' } : {}), ...headers } }, (response) => {
    let text = '';
    response.on('data', (chunk) => { text += chunk; });
    response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: text }));
  });
  request.on('error', reject);
  request.end(body ? JSON.stringify(body) : undefined);
});
const bearer = () => ({ authorization: `Bearer ${fleet.token}` });
async function createOver() {
  const { status, body } = await ask('POST', '/api/v1/sessions?wait=60', { body: { app: 'none', sound: false }, headers: bearer() });
  assert.equal(status, 201, body);
  return JSON.parse(body);
}

test('the printed address, links and cookies are of https', async () => {
  assert.equal(fleet.url, `https://desk.example:${port()}/`);
  const link = await ask('POST', `/api/v1/sessions/${session.id}/share`, { body: { powers: ['view'] }, headers: bearer() });
  assert.ok(JSON.parse(link.body).url.startsWith(`https://desk.example:${port()}/s/`), link.body);
  const cdp = JSON.parse((await ask('GET', `/cdp/json/version?token=${fleet.token}`)).body);
  assert.ok(cdp.webSocketDebuggerUrl.startsWith(`wss://desk.example:${port()}/`), cdp.webSocketDebuggerUrl);
  const login = await ask('POST', '/api/v1/login', { body: { name: 'bob', password: 'staple of bob' }, headers: { origin: `https://desk.example:${port()}` } });
  assert.equal(login.status, 200, login.body);
  assert.match(login.headers['set-cookie'][0], /; HttpOnly; SameSite=Strict; Max-Age=43200; Secure$/);
});

test('a page, its WebSocket and its media work', async () => {
  const browser = await launch([`--host-resolver-rules=MAP desk.example 127.0.0.1`]);
  try {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    await page.goto(`${fleet.url}#token=${fleet.token}`);
    await page.locator('.card').getByRole('link').click();
    await until('the picture', () => page.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0));
    assert.ok(await page.evaluate(() => isSecureContext));
    // Media over TCP has its own encryption, and shares the port with TLS.
    const slow = await context.newPage();
    await slow.addInitScript(() => {
      const Native = window.RTCPeerConnection;
      const isUdp = (candidate) => / udp /i.test(candidate);
      window.RTCPeerConnection = class extends Native {
        constructor(...options) {
          super(...options);
          window.peer = this;
        }
        setRemoteDescription({ type, sdp }) {
          const lines = sdp.split('\r\n').filter((line) => !line.startsWith('a=candidate:') || !isUdp(line));
          return super.setRemoteDescription({ type, sdp: lines.join('\r\n') });
        }
        addIceCandidate(candidate) {
          return isUdp(candidate?.candidate ?? '') ? Promise.resolve() : super.addIceCandidate(candidate);
        }
      };
    });
    await slow.goto(`${fleet.url}#token=${fleet.token}`);
    await slow.locator('.card').getByRole('link').click();
    await until('the picture over TCP', () => slow.evaluate(() => window.glasshouse?.state === 'live' && window.glasshouse.video?.frames > 0));
    const used = await until('a pair of candidates', () => slow.evaluate(async () => {
      const reports = await window.peer.getStats();
      const pair = [...reports.values()].find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
      const { protocol, port } = (pair && reports.get(pair.remoteCandidateId)) ?? {};
      return protocol && { protocol, port };
    }));
    assert.deepEqual(used, { protocol: 'tcp', port: port() });
  } finally {
    await browser.close();
  }
  const refused = await new Promise((resolve) => {
    const socket = new WebSocket(`wss://desk.example:${port()}${session.path}api/ws?token=wrong`, { ca: readFileSync(certificate), lookup: (_, options, done) => (options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)) });
    socket.on('unexpected-response', (_, response) => resolve(response.statusCode));
    socket.on('open', () => { socket.close(); resolve(101); });
    socket.on('error', (error) => resolve(error.message));
  });
  assert.ok([101, 401].includes(refused), String(refused));
});

test('the command line of this machine needs no certificate', async () => {
  const { code, out, err } = await fleet.command('ls', '--json');
  assert.equal(code, 0, err);
  assert.deepEqual(JSON.parse(out).map(({ id }) => id), [session.id]);
});

test('http from elsewhere leads to https, and is told nothing', { skip: outside ? false : 'this machine has no other address' }, async () => {
  // From one address of this machine to another of it, which only looks like elsewhere.
  const plain = (method, host, path = '/api?x=1', from = outside) => new Promise((resolve, reject) => {
    http({ host: '127.0.0.1', localAddress: from, port: port(), method, path, headers: { host, ...bearer() } }, (response) => {
      response.resume();
      resolve([response.statusCode, response.headers.location]);
    }).on('error', reject).end();
  });
  assert.deepEqual(await plain('GET', 'desk.example:99'), [308, 'https://desk.example:99/api?x=1']);
  assert.deepEqual(await plain('GET', 'evil.example'), [421, undefined]);
  assert.deepEqual(await plain('POST', 'desk.example', '/api/v1/sessions'), [403, undefined]);
  assert.deepEqual(await plain('GET', 'desk.example', '/api/v1/sessions', '127.0.0.1'), [200, undefined], 'this machine needs none');
});

test('a new certificate is used as soon as it is there; one that is broken changes nothing', async () => {
  const subject = () => new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: port(), rejectUnauthorized: false }, () => { resolve(socket.getPeerCertificate().subject.CN); socket.destroy(); });
    socket.on('error', reject);
  });
  assert.equal(await subject(), 'desk.example');
  certify('new.example');
  assert.equal(await subject(), 'new.example');
  writeFileSync(key, 'nonsense');
  assert.equal(await subject(), 'new.example');
  await until('it is told', () => fleet.seen.err.includes('certificate from before'));
  certify('desk.example');
  assert.equal(await subject(), 'desk.example');
});

test('files that cannot be used are named at the start', async () => {
  const refused = async (...options) => (await runToEnd(['serve', '--listen', '127.0.0.1:0', '--state', join(folder, 'state'), ...options])).err;
  assert.match(await refused('--tls-cert', join(folder, 'none'), '--tls-key', key), /error: cannot use .*none/);
  assert.match(await refused('--tls-cert', certificate, '--tls-key', certificate), /error: cannot use/);
  assert.match(await refused('--tls-cert', certificate), /--tls-key/);
});
