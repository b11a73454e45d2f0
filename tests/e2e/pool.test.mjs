// Sessions that are started ahead: taken, refilled, out of the way of real ones, gone with the server.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { isAlive } from './lib/process.mjs';
import { Fleet } from './lib/serve.mjs';
import { until } from './lib/wait.mjs';

let site;
const asked = [];
before(async () => {
  site = createServer((request, response) => {
    asked.push({ url: request.url, language: request.headers['accept-language'] });
    response.setHeader('content-type', 'text/html');
    response.end(`<!doctype html><title>${request.url}</title><script>onload = () => { document.title += ' ' + screen.width + 'x' + screen.height; }</script>`);
  });
  await new Promise((resolve) => { site.listen(0, '127.0.0.1', resolve); });
});
after(() => { site?.closeAllConnections(); site?.close(); });
const page = (path) => `http://localhost:${site.address().port}${path}`;
const start = (...options) => Fleet.start(options, { session: [`--expose=${site.address().port}`] });

/** A number of the server's own. */
async function metric(fleet, name) {
  const { body } = await fleet.api('GET', 'metrics', undefined, { token: null });
  return Number(body.split('\n').find((line) => line.startsWith(`${name} `))?.slice(name.length + 1) ?? 0);
}
const warm = (fleet) => metric(fleet, 'glasshouse_fleet_pool{state="warm"}');
const starts = (fleet, from) => metric(fleet, `glasshouse_fleet_starts_total{from="${from}"}`);
const filled = (fleet, count) => until(`the pool has ${count}`, async () => await warm(fleet) === count);

/** Titles of a session's tabs, and its address for programs. */
async function titles(fleet, id) {
  const { body: driver } = await fleet.api('POST', `api/v1/sessions/${id}/cdp`);
  const { body } = await fleet.api('GET', `s/${id}/json/list`, undefined, { token: driver.token });
  return body.filter(({ type }) => type === 'page').map(({ title }) => title);
}
const end = async (fleet, id) => assert.equal((await fleet.api('DELETE', `api/v1/sessions/${id}`)).body.state, 'terminated');

test('a session that was started ahead is taken, at its page and size, within its own rules; and another takes its place', async () => {
  const fleet = await start('--pool', '1', '--pool-shape', '1={"locale":"de-DE","sound":false}');
  await filled(fleet, 2);
  const [before] = fleet.directories().map((id) => fleet.processes(id)[0]);
  assert.ok(isAlive(before));
  assert.deepEqual((await fleet.api('GET', 'api/v1/sessions')).body.sessions, []);
  for (const id of fleet.directories()) assert.equal((await fleet.api('GET', `s/${id}/`)).status, 404, 'nobody reaches what is nobody\'s');
  const ahead = fleet.directories();

  const taken = await fleet.create({ url: page('/first'), screen: { width: 1024, height: 600 }, name: 'mine', labels: { a: 'b' } });
  assert.ok(ahead.includes(taken.id), 'it was not taken from the pool');
  assert.deepEqual([taken.name, taken.screen, taken.labels], ['mine', { width: 1024, height: 600 }, { a: 'b' }]);
  await until('its page is open, at its size', async () => (await titles(fleet, taken.id)).includes('/first 1024x600'));

  const german = await fleet.create({ url: page('/german'), sound: false, locale: 'de-DE' });
  assert.ok(ahead.includes(german.id));
  await until('the page is asked for', () => asked.some(({ url }) => url === '/german'));
  assert.match(asked.find(({ url }) => url === '/german').language, /^de/);
  assert.equal(await starts(fleet, 'pool'), 2);

  await filled(fleet, 2);
  const blocked = await fleet.create({ url: page('/blocked'), egress: { block_all: true } });
  assert.equal(await starts(fleet, 'pool'), 3);
  await until('the browser says so', async () => (await titles(fleet, blocked.id)).some((title) => /blocked/i.test(title)));
  assert.ok(!asked.some(({ url }) => url === '/blocked'));

  const cold = await fleet.create({ url: page('/cold'), timezone: 'Asia/Tokyo' });
  assert.equal(await starts(fleet, 'cold'), 1);
  await until('its page is open', async () => (await titles(fleet, cold.id)).some((title) => title.startsWith('/cold')));
  for (const { id } of [taken, german, blocked, cold]) await end(fleet, id);
  assert.equal(await fleet.stop(), 0);
});

test('real sessions go first, and the pool gives way', async () => {
  const fleet = await start('--pool', '2', '--pool-frozen', '--max-sessions', '2');
  await filled(fleet, 2);
  const ahead = fleet.directories().map((id) => fleet.processes(id)[0]);
  const other = await fleet.create({ app: 'none', sound: false });
  await until('one of the pool has gone', async () => await warm(fleet) === 1 && ahead.filter(isAlive).length === 1);
  const taken = await fleet.create({ url: page('/thawed') });
  assert.equal(await starts(fleet, 'pool'), 1);
  await until('its page is open', async () => (await titles(fleet, taken.id)).some((title) => title.startsWith('/thawed')));
  assert.equal((await fleet.api('POST', 'api/v1/sessions', { app: 'none' })).status, 429);
  assert.equal(await warm(fleet), 0);
  for (const { id } of [taken, other]) await end(fleet, id);
  await filled(fleet, 2);
  assert.equal(await fleet.stop(), 0);
});

test('a killed server leaves its pool to the next one, which clears it away; taken ones go on; a dead one is replaced', async () => {
  const fleet = await start('--pool', '1');
  await filled(fleet, 1);
  const [{ pid }] = fleet.processes(fleet.directories()[0]);
  process.kill(pid, 'SIGKILL');
  await until('it is noticed', async () => !fleet.directories().some((id) => { try { return fleet.processes(id)[0]?.pid === pid; } catch { return false; } }) && await warm(fleet) === 1);
  const taken = await fleet.create({ url: page('/kept') });
  await filled(fleet, 1);
  const ahead = fleet.directories().filter((id) => id !== taken.id).flatMap((id) => fleet.processes(id));
  fleet.seen.child.kill('SIGKILL');
  await fleet.seen.ended;
  await fleet.serve();
  const found = await fleet.api('GET', `api/v1/sessions/${taken.id}`);
  assert.deepEqual([found.body.state, found.body.url], ['ready', page('/kept')]);
  await until('what was nobody\'s is gone', () => ahead.every((one) => !isAlive(one)));
  await filled(fleet, 1);
  await end(fleet, taken.id);
  assert.equal(await fleet.stop(), 0);
});
