// A short soak, see tests/soak: sessions, browsers and the server are killed, and nothing is left and nothing is lost in silence.
// GLASSHOUSE_SOAK says how many sessions, GLASSHOUSE_SEED which plan.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lacking } from '../soak/place.mjs';
import { Soak } from '../soak/soak.mjs';

const sessions = Number(process.env.GLASSHOUSE_SOAK ?? 25);
const seed = Number(process.env.GLASSHOUSE_SEED ?? Date.now() % 1e6);

test(`${sessions} sessions are created, used and ended while browsers, sessions and the server are killed`, { skip: lacking ?? false }, async () => {
  const report = await new Soak({ sessions, seed, log: console.log }).run();
  console.log(JSON.stringify(report));
  assert.deepEqual(report.failures, [], `GLASSHOUSE_SEED=${seed}`);
  assert.equal(report.sessions, sessions);
  assert.ok(report.server_kills > 0);
});
