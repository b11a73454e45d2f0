// A few programs at work for some seconds while people watch: the benchmark's long run (bench/lib/programs.mjs), small. GLASSHOUSE_SEED says
// what they do in which order.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { programs } from '../../bench/lib/programs.mjs';
import { servePages } from './lib/pages.mjs';
import { Fleet } from './lib/serve.mjs';
import { exposed } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';

const SECONDS = 12;
const seed = Number(process.env.GLASSHOUSE_SEED ?? Date.now() % 1e6);

let pages, fleet, viewers;
before(async () => {
  pages = await servePages();
  fleet = await Fleet.start(['--max-sessions', '3'], { session: [...exposed].map((port) => `--expose=${port}`) });
  viewers = await launch();
});
after(async () => {
  await viewers?.close();
  fleet?.kill();
  await pages?.stop();
});

test('three programs do what programs do, two are watched, and nothing fails or is left', async () => {
  const server = {
    url: fleet.url, token: fleet.token, pid: fleet.seen.pid,
    processOf: (id) => Number(readFileSync(join(fleet.state, 's', id, 'lock'), 'utf8').split(' ')[0]),
  };
  const result = await programs({ server, chromium, viewers, url: pages.url('colors.html'), count: 3, seconds: SECONDS, seed });
  const told = `GLASSHOUSE_SEED=${seed}: ${JSON.stringify(result)}`;
  assert.equal(result.failures, 0, told);
  assert.ok(Object.values(result.done).reduce((sum, times) => sum + times, 0) >= 10, told);
  assert.equal(result.frames.length, 2, told);
  assert.equal(result.left, 0, told);
  assert.ok(result.server.after.descriptors <= result.server.before.descriptors, told);
  assert.ok(result.sessions.descriptors <= 0, told);
  assert.deepEqual(fleet.directories(), []);
});
