// Metrics: a real Prometheus, set up by our example, scrapes a real server with sessions and viewers, and every panel of our
// Grafana dashboard has data.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createListener } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { Fleet } from './lib/serve.mjs';
import { ROOT } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

/** Legends of panels whose numbers are there only when something goes wrong that nothing here lets go wrong. */
const RARE = [];

let fleet, site, browser, prometheus, place, origin, seen, frozen;

before(async () => {
  site = createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    // Moves for as long as it is open, and asks for what the walls refuse.
    response.end(`<!doctype html><title>moving</title><p>0</p><script>
      setInterval(() => { document.querySelector('p').textContent = performance.now(); }, 50);
      setInterval(() => { fetch('http://10.0.0.1/').catch(() => {}); fetch('/').then((answer) => answer.text()); }, 500);
    </script>`);
  });
  await new Promise((resolve) => { site.listen(0, '127.0.0.1', resolve); });
  fleet = await Fleet.start(['--pool', '1'], { session: [`--expose=${site.address().port}`] });
  seen = await fleet.create({ url: `http://localhost:${site.address().port}/`, sound: false, idle_freeze_seconds: 0 });
  frozen = await fleet.create();
  browser = await launch();
});

after(async () => {
  prometheus?.kill('SIGKILL');
  await browser?.close();
  site?.closeAllConnections();
  site?.close();
  if (place) rmSync(place, { recursive: true, force: true });
});

/** A port of loopback that was free a moment ago. */
const freePort = () => new Promise((resolve, reject) => {
  const listener = createListener();
  listener.on('error', reject);
  listener.listen(0, '127.0.0.1', () => { const { port } = listener.address(); listener.close(() => resolve(port)); });
});

/** Starts Prometheus with our example of a configuration, at this server, and looking often. */
async function startPrometheus(token) {
  place = mkdtempSync(join(tmpdir(), 'gh-prometheus-'));
  const example = readFileSync(join(ROOT, 'deploy/prometheus/prometheus.yml'), 'utf8');
  const changes = [['scrape_interval: 15s', 'scrape_interval: 1s'], ['/etc/prometheus/glasshouse-token', join(place, 'token')], ['127.0.0.1:8080', new URL(fleet.url).host]];
  let config = example;
  for (const [from, to] of changes) {
    assert.ok(config.includes(from), `the example has no ${from}`);
    config = config.replace(from, to);
  }
  writeFileSync(join(place, 'prometheus.yml'), config);
  writeFileSync(join(place, 'token'), token, { mode: 0o600 });
  // Somebody else may take the port meanwhile.
  for (let tries = 0; tries < 5; tries += 1) {
    const words = await launchPrometheus(await freePort());
    if (words === null) return;
    assert.match(words, /address already in use/);
  }
  throw new Error('no port stays free');
}

/** Starts it on a port, and waits until it is ready; what it has said if it has ended instead. */
async function launchPrometheus(port) {
  origin = `http://127.0.0.1:${port}`;
  prometheus = spawn('setpriv', ['--pdeathsig=KILL', '--', 'prometheus', `--config.file=${join(place, 'prometheus.yml')}`, `--storage.tsdb.path=${join(place, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`, '--log.level=warn'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let words = '', over = false;
  prometheus.stderr.on('data', (bytes) => { words += bytes; });
  prometheus.on('close', () => { over = true; });
  await until('Prometheus is ready', async () => {
    if (over) return true;
    return (await fetch(`${origin}/-/ready`)).ok;
  });
  return over ? `Prometheus ended: ${words}` : null;
}

/** What an expression gives now: its samples that are numbers. */
async function query(expression) {
  const answer = await fetch(`${origin}/api/v1/query?${new URLSearchParams({ query: expression })}`);
  const { status, error, data } = await answer.json();
  assert.equal(status, 'success', `${expression}: ${error}`);
  return data.result.map(({ value: [, value] }) => Number(value)).filter(Number.isFinite);
}

test('who has no token learns of no session, and who has one of each', async () => {
  const asked = (headers) => fetch(`${fleet.url}metrics`, { headers });
  const open = await asked({});
  assert.equal(open.headers.get('content-type'), 'application/openmetrics-text; version=1.0.0; charset=utf-8');
  const text = await open.text();
  assert.ok(text.includes('glasshouse_fleet_start_seconds_bucket{le="+Inf",from="cold"} ') || text.includes('glasshouse_fleet_start_seconds_bucket{from="cold",le="+Inf"} '), text);
  assert.ok(!text.includes(seen.id) && !text.includes('session_id'), text);
  assert.equal((await asked({ authorization: 'Bearer gh_wrong' })).status, 401);
  const { token: other } = await fleet.grant(['view'], seen.id);
  assert.equal((await asked({ authorization: `Bearer ${other}` })).status, 403);
  await fleet.api('POST', `api/v1/sessions/${frozen.id}/freeze`);
  const { token } = await fleet.grant(['view']);
  const all = await (await asked({ authorization: `Bearer ${token}` })).text();
  assert.match(all, new RegExp(`^glasshouse_session_frozen\\{session_id="${frozen.id}"\\} 1(\\.0)?$`, 'm'));
  assert.match(all, new RegExp(`^glasshouse_session_state\\{session_id="${seen.id}",state="ready"\\} 1$`, 'm'));
  assert.ok(all.endsWith('# EOF\n') && all.indexOf('# EOF') === all.length - 6);
  assert.equal((await fleet.api('GET', `api/v1/sessions/${frozen.id}`)).body.state, 'frozen', 'a look has woken it');
  for (const path of ['healthz', 'readyz']) assert.equal((await asked({})).status && (await fetch(`${fleet.url}${path}`)).status, 200);
});

test('every panel of the dashboard has data from a real Prometheus', { skip: process.env.GLASSHOUSE_NO_PROMETHEUS && 'there is no Prometheus here' }, async () => {
  const { token } = await fleet.grant(['view']);
  await startPrometheus(token);
  const link = (await fleet.api('POST', `api/v1/sessions/${seen.id}/links`, { admin: true, uses: 10 })).body;
  const page = await browser.newPage();
  await page.goto(link.url);
  await page.waitForFunction(() => document.querySelector('video')?.videoWidth > 0, null, { timeout: PATIENCE });
  const member = (await fleet.api('POST', `s/${seen.id}/api/login`, { username: 'x', password: link.token }, { token: null })).body;
  const panels = JSON.parse(readFileSync(join(ROOT, 'deploy/grafana/glasshouse.json'), 'utf8')).panels.filter(({ targets }) => targets);
  const missing = new Map(panels.flatMap(({ title, targets }) => targets.map(({ expr, legendFormat }) => [`${title}: ${legendFormat}`, expr])));
  for (const name of RARE) assert.ok(missing.delete(name), `there is no ${name}`);
  assert.ok(missing.size > 30, `${missing.size} expressions`);

  // Everything happens now and then for as long as Prometheus looks, because a rate takes two looks.
  const happen = async () => {
    for (const what of ['freeze', 'thaw']) await fleet.api('POST', `api/v1/sessions/${frozen.id}/${what}`);
    const socket = new WebSocket(`${fleet.origin.replace('http', 'ws')}/s/${seen.id}/api/ws?token=${member.token}`);
    socket.on('error', () => {});
    await once(socket, 'message', { signal: AbortSignal.timeout(PATIENCE) });
    socket.send('{"event":"no/such/event","payload":{}}');
    socket.send('junk');
    socket.close();
    await once(socket, 'close', { signal: AbortSignal.timeout(PATIENCE) });
  };
  const create = async (spec) => { const { id } = await fleet.create(spec); await fleet.api('DELETE', `api/v1/sessions/${id}`); };
  // Of both kinds: from the pool, and started for itself.
  await create({ app: 'none', sound: false });
  let warm = 0;
  await until('every panel has data', async () => {
    await happen();
    if (warm < 2 && (await query('glasshouse_fleet_pool{state="warm"} > 0')).length) {
      warm += 1;
      await create({});
      await create({ app: 'none', sound: false });
    }
    for (const [name, expression] of missing) {
      const exact = expression.replaceAll('$__rate_interval', '40s').replaceAll('$session', '.*');
      if ((await query(exact)).length) missing.delete(name);
    }
    return missing.size === 0;
  }, 5 * PATIENCE).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify([...missing])}`); });
  await page.close();

  // As many series as there are sessions, not as there were people.
  const [series] = await query(`count({session_id="${seen.id}"})`);
  assert.ok(series < 200, `${series} series of one session`);
  const labels = (await (await fetch(`${origin}/api/v1/labels`)).json()).data;
  assert.ok(!labels.some((name) => /member|user|name$/.test(name) && name !== '__name__' && name !== 'codec_name'), `${labels}`);
});

// A test and not a hook: what a failure leaves is cleared away before hooks of this file.
test('nothing is left', async () => { assert.equal(await fleet.stop(), 0); });
