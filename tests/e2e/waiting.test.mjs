// Who waits for a place gets one in turn; who leaves gives it up; limits of one token are its own. And a link whose time is over puts its people out.

import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { Fleet } from './lib/serve.mjs';
import { until } from './lib/wait.mjs';

const SPEC = { app: 'none', sound: false };
let fleet;
before(async () => { fleet = await Fleet.start(['--max-sessions', '2', '--log-level', 'debug']); });
after(() => fleet?.kill());

const sessions = async () => (await fleet.api('GET', 'api/v1/sessions')).body.sessions;
const end = async (id) => assert.equal((await fleet.api('DELETE', `api/v1/sessions/${id}`)).status, 200);
/** A token that creates. */
const creator = async () => (await fleet.grant(['control'])).token;
/** A creation that is under way; `over` is its answer. */
function ask(token, path = 'api/v1/sessions?queue=120', headers = {}) {
  const asked = { answer: null };
  const sent = request(`${fleet.url}${path}`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers } }, (response) => {
    let text = '';
    response.on('data', (chunk) => { text += chunk; });
    response.on('end', () => { asked.answer = { status: response.statusCode, headers: response.headers, body: JSON.parse(text) }; });
  });
  sent.on('error', (error) => { asked.answer ??= { status: 0, body: error.message }; });
  sent.end(JSON.stringify(SPEC));
  asked.leave = () => sent.destroy();
  asked.done = () => until('the creation is answered', () => asked.answer);
  return asked;
}
/** Waits until so many creations have ever stood in the line, or left it. */
const stood = (count, words = 'waits for a place') => until(`${count} times: ${words}`, () => fleet.seen.err.split(words).length > count);

test('places are given in order, tokens in turn; who leaves is passed by', async () => {
  const [full, greedy, modest, other] = [await creator(), await creator(), await creator(), await creator()];
  const first = await fleet.api('POST', 'api/v1/sessions?wait=60', SPEC, { token: full });
  const second = await fleet.api('POST', 'api/v1/sessions?wait=60', SPEC, { token: full });
  assert.deepEqual([first.status, second.status], [201, 201]);
  const refused = await fleet.api('POST', 'api/v1/sessions', SPEC, { token: other });
  assert.deepEqual([refused.status, refused.body.type.split(':').at(-1)], [429, 'full']);
  assert.ok(Number(refused.headers.get('retry-after')) > 0);
  assert.equal((await fleet.api('POST', 'api/v1/sessions?queue=121', SPEC, { token: other })).status, 422);
  const short = await fleet.api('POST', 'api/v1/sessions?queue=1', SPEC, { token: other });
  assert.deepEqual([short.status, short.body.type.split(':').at(-1)], [429, 'full'], 'after a second');

  // The one that was too short was the first.
  const one = ask(greedy);
  await stood(2);
  const passed = await fleet.api('POST', 'api/v1/sessions', SPEC, { token: other });
  assert.deepEqual([passed.status, passed.body.type.split(':').at(-1)], [429, 'waiting'], 'nobody overtakes');
  const gone = ask(greedy);
  await stood(3);
  const two = ask(greedy, 'api/v1/sessions', { prefer: 'respond-async, wait=120' });
  await stood(4);
  const three = ask(modest);
  await stood(5);
  gone.leave();
  await stood(2, 'waits no more');
  assert.equal(one.answer ?? two.answer ?? three.answer, null);
  await end(first.body.id);
  assert.equal((await one.done()).status, 201);
  await end(second.body.id);
  // The greedy one has had its turn.
  assert.equal((await three.done()).status, 201, JSON.stringify(two.answer));
  assert.equal(two.answer, null);
  await end(three.answer.body.id);
  assert.equal((await two.done()).status, 201);
  assert.equal((await sessions()).length, 2, 'who left has got none');
  for (const { id } of await sessions()) await end(id);
});

test('a token’s own limit holds back that token only', async () => {
  assert.equal(await fleet.stop(), 0);
  fleet = await Fleet.start(['--max-sessions', '9', '--max-sessions-per-token', '1', '--log-level', 'debug']);
  const [a, b] = [await creator(), await creator()];
  const mine = await fleet.api('POST', 'api/v1/sessions?wait=60', SPEC, { token: a });
  assert.equal(mine.status, 201);
  const again = await fleet.api('POST', 'api/v1/sessions', SPEC, { token: a });
  assert.deepEqual([again.status, again.body.type.split(':').at(-1)], [429, 'too-many']);
  const waits = ask(a);
  await stood(1);
  const theirs = ask(b);
  assert.equal((await theirs.done()).status, 201);
  assert.equal(waits.answer, null);
  await end(mine.body.id);
  assert.equal((await waits.done()).status, 201);
  for (const { id } of await sessions()) await end(id);
});

test('when the time of a link is over, who came by it is out and told why; others stay', async () => {
  const session = await fleet.create();
  const join = async (token) => {
    const { body: ticket } = await fleet.api('POST', `api/v1/sessions/${session.id}/join`, undefined, { token });
    const { status, body } = await fleet.api('POST', `s/${session.id}/api/login`, { username: 'guest', password: ticket.token }, { token: null });
    assert.equal(status, 200, JSON.stringify(body));
    const member = { token: body.token, said: [], closed: false };
    const socket = new WebSocket(`${fleet.url.replace('http', 'ws')}s/${session.id}/api/ws?token=${body.token}`);
    socket.on('message', (data) => member.said.push(JSON.parse(data)));
    socket.on('close', () => { member.closed = true; });
    await until('the room greets', () => member.said.some(({ event }) => event === 'system/init'));
    member.leave = () => socket.close();
    return member;
  };
  const stays = await join(fleet.token);
  // As long as coming in takes on a busy machine.
  const { body: link } = await fleet.api('POST', 'api/v1/tokens', { powers: ['view'], session: session.id, expires_in_seconds: 15 });
  const guest = await join(link.token);
  await until('the guest is out', () => guest.closed);
  assert.equal(guest.said.find(({ event }) => event === 'system/disconnect').payload.message, 'link expired');
  assert.equal((await fleet.api('GET', `s/${session.id}/api/whoami`, undefined, { token: guest.token })).status, 401);
  assert.equal((await fleet.api('GET', `api/v1/sessions/${session.id}`, undefined, { token: link.token })).status, 401);
  assert.equal(stays.closed, false);
  await until('it is written down', async () => (await fleet.api('GET', 'api/v1/audit')).body.entries.some(({ action, target, detail }) => action === 'session.link-expired' && target === session.id && detail === link.id));
  assert.ok(!(await fleet.api('GET', 'api/v1/tokens')).body.tokens.some(({ id }) => id === link.id));
  stays.leave();
});
