// Limits of a fleet, idle sessions, a damaged database, and a second server.

import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Fleet } from './lib/serve.mjs';
import { runToEnd } from './lib/session.mjs';
import { until } from './lib/wait.mjs';

const SMALL = { app: 'none', sound: false };

test('too many, too fast and too big are refused with a time to wait', async () => {
  const fleet = await Fleet.start(['--max-sessions', '1', '--creations-per-minute-and-token', '2', '--path-prefix', '/desk']);
  const create = () => fleet.api('POST', 'api/v1/sessions', SMALL);
  const refused = async (kind) => {
    const { status, body, headers } = await create();
    assert.deepEqual([status, body.type], [429, `urn:glasshouse:problem:${kind}`], JSON.stringify(body));
    assert.ok(Number(headers.get('retry-after')) >= 1);
  };
  const first = await fleet.create(SMALL);
  assert.equal(first.path, `/desk/s/${first.id}/`);
  assert.equal((await fleet.api('GET', `s/${first.id}/`)).status, 200);
  await refused('full');
  await fleet.api('DELETE', `api/v1/sessions/${first.id}`);
  // Two at once, and one more every half minute that a busy machine takes.
  const [began, made] = [Date.now(), []];
  for (let answer; (answer = await create()).status === 201; made.push(answer)) {
    await fleet.api('DELETE', `api/v1/sessions/${answer.body.id}`);
    assert.ok(made.length <= (Date.now() - began + 15_000) / 30_000, `${made.length + 2} are not too fast`);
  }
  assert.ok(made.length >= 1);
  await refused('too-fast');
  assert.equal(await fleet.stop(), 0);

  const poor = await Fleet.start(['--session-memory', '1000000']);
  const { status, body } = await poor.api('POST', 'api/v1/sessions', SMALL);
  assert.deepEqual([status, body.type], [429, 'urn:glasshouse:problem:memory']);
  assert.equal(await poor.stop(), 0);
});

test('sessions that nobody uses are frozen, then ended; those that cannot start say why', async () => {
  const fleet = await Fleet.start();
  const { id } = await fleet.create({ ...SMALL, idle_freeze_seconds: 1, idle_timeout_seconds: 0 });
  const state = async (id) => (await fleet.api('GET', `api/v1/sessions/${id}`)).body;
  await until('it is frozen', async () => (await state(id)).state === 'frozen');
  await fleet.api('PATCH', `api/v1/sessions/${id}`, { idle_timeout_seconds: 1 });
  await until('it is ended', async () => (await state(id)).state === 'terminated');
  assert.equal((await state(id)).reason, 'idle time-out');
  const old = await fleet.create({ ...SMALL, max_lifetime_seconds: 1 }).catch(() => null);
  if (old) await until('it is ended', async () => (await state(old.id)).state === 'terminated');
  assert.equal(await fleet.stop(), 0);

  const broken = await Fleet.start([], { session: ['--no-such-option'] });
  const failed = await broken.api('POST', 'api/v1/sessions?wait=60', SMALL);
  assert.equal(failed.body.state, 'failed', JSON.stringify(failed.body));
  assert.match((await broken.api('GET', `api/v1/sessions/${failed.body.id}/logs`)).body, /no-such-option/);
  assert.equal(await broken.stop(), 0);
});

test('a damaged database is set aside, and what runs is still found', async () => {
  const fleet = await Fleet.start();
  const { id } = await fleet.create({ ...SMALL, labels: { kept: 'yes' } });
  const second = await runToEnd(['serve', '--listen', '127.0.0.1:0', '--state', fleet.state]);
  assert.deepEqual([second.code, second.err.includes('another `glasshouse serve`')], [1, true], second.err);
  fleet.seen.child.kill('SIGKILL');
  await fleet.seen.ended;
  for (const name of readdirSync(fleet.state).filter((name) => name.startsWith('fleet.db'))) {
    writeFileSync(join(fleet.state, name), 'not a database at all, but long enough to be taken for one'.repeat(50));
  }
  await fleet.serve();
  assert.ok(readdirSync(fleet.state).some((name) => name.startsWith('fleet.db.damaged-')));
  // The token in its file is good again.
  const found = await fleet.api('GET', `api/v1/sessions/${id}`);
  assert.deepEqual([found.status, found.body.state, found.body.labels], [200, 'ready', { kept: 'yes' }], JSON.stringify(found.body));
  assert.equal(await fleet.stop(), 0);
});
