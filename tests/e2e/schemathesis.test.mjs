// A fuzzer that reads our OpenAPI document asks a real server for everything in it, in thousands of right and wrong ways: no answer is
// a 5xx, and all are as the document says. GLASSHOUSE_SEED says which ways.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Fleet } from './lib/serve.mjs';
import { ROOT } from './lib/session.mjs';

const PROGRAM = process.env.GLASSHOUSE_SCHEMATHESIS ?? join(ROOT, 'target/tools/schemathesis/bin/schemathesis');
const CHECKS = ['not_a_server_error', 'status_code_conformance', 'content_type_conformance', 'response_headers_conformance', 'response_schema_conformance'];
const SEED = process.env.GLASSHOUSE_SEED ?? `${Date.now() % 1e6}`;
/** Sessions that the fuzzer may have at a time. */
const SESSIONS = 3;
/** Longest run in milliseconds, which only bounds a failure. */
const LIMIT = 200_000;

let fleet, place;
before(async () => {
  place = mkdtempSync(join(tmpdir(), 'gh-schemathesis-'));
  // What it creates ends by itself soon, so that it can create more.
  fleet = await Fleet.start(['--max-sessions', `${SESSIONS}`, '--max-lifetime', '20s', '--creations-per-minute', '30', '--session-memory', '200']);
});
after(() => { if (place) rmSync(place, { recursive: true, force: true }); });

/**
 * Lets it run on operations that options choose, with `id` as the session that paths name, and returns what it says. Events never end,
 * it cannot make an archive, and it would take our own token back, which it finds in the list. One expression leaves out what it has to: conditions of several options would all have to hold.
 */
async function fuzz(name, options, { id, examples, without = [] }) {
  assert.ok(existsSync(PROGRAM), `there is no ${PROGRAM}: cargo xtask test installs it`);
  const config = join(place, `${name}.toml`);
  writeFileSync(config, id ? `[parameters]\n"path.id" = "${id}"\n` : '');
  const line = ['--config-file', config, '--no-color', 'run', `${fleet.url}openapi.json`, '--header', `Authorization: Bearer ${fleet.token}`, '--checks', CHECKS.join(','),
    '--phases', 'examples,coverage,fuzzing', '--max-examples', `${examples}`, '--seed', SEED, '--request-timeout', '90', '--generation-database', 'none', '--suppress-health-check', 'all',
    '--continue-on-failure', '--max-failures', '20', '--exclude-name-regex', ['/(events|archive)$', ...without].join('|'), ...options];
  const child = spawn('setpriv', ['--pdeathsig=KILL', '--', PROGRAM, ...line], { cwd: place, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' } });
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => { text += bytes; });
  const code = await new Promise((resolve) => { child.on('close', resolve); });
  clearTimeout(timer);
  assert.equal(code, 0, `GLASSHOUSE_SEED=${SEED}\n${text}`);
  return text;
}

/** Test cases that it says it has made. */
const cases = (text) => Number(/(\d+) generated/.exec(text)?.[1] ?? 0);

test('everything, with what comes to its mind', async () => {
  const text = await fuzz('all', [], { examples: 15, without: ['^DELETE /api/v1/tokens'] });
  assert.ok(cases(text) > 300, text);
});

test('a session that is there', async () => {
  // What it has made may live for a year.
  for (const { id } of (await fleet.api('GET', 'api/v1/sessions?limit=200')).body.sessions) await fleet.api('DELETE', `api/v1/sessions/${id}`);
  const session = await fleet.create({ app: 'none', sound: false, max_lifetime_seconds: 0 });
  const text = await fuzz('one', ['--include-path-regex', String.raw`/sessions/\{id\}`], { id: session.id, examples: 8, without: ['/extend$', '^(DELETE|PATCH) '] });
  assert.ok(cases(text) > 50, text);
  assert.ok(['ready', 'frozen'].includes((await fleet.api('GET', `api/v1/sessions/${session.id}`)).body.state));
  await fuzz('its end', ['--include-path-regex', String.raw`/sessions/\{id\}(/extend)?$`], { id: session.id, examples: 15 });
});

// A test and not a hook: what a failure leaves is cleared away before hooks of this file.
test('the server is well, and nothing is left', async () => {
  for (const path of ['healthz', 'readyz']) assert.equal((await fleet.api('GET', path, undefined, { token: null })).status, 200);
  assert.ok(fleet.directories().length <= SESSIONS, `${fleet.directories()}`);
  assert.equal(await fleet.stop(), 0);
});
