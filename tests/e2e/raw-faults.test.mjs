// Bad input, leaks and faults: the session goes on, or says in one line why it does not.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { isAlive, tree, usage } from './lib/process.mjs';
import { Session, runToEnd, start } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';
import { PATIENCE, until, within } from './lib/wait.mjs';
import { BINARY, RawSocket } from './raw-socket.mjs';

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

describe('bad input', () => {
  let session, witness, token;
  before(async () => {
    session = await Session.start(['--app', 'none', '--no-sound']);
    witness = await joinSession(browser, session, { name: 'witness' });
    ({ token } = await session.login('bad'));
  });
  after(() => session?.stop());

  const rejected = async (kind) => (await session.metrics()).get(`glasshouse_rejected_input_total{kind="${kind}"}`) ?? 0;
  const rises = async (kind, action) => {
    const before = await rejected(kind);
    await action();
    await until(`${kind} is counted`, async () => await rejected(kind) > before).catch(async (error) => {
      throw new Error(`${error.message}; ${[...(await session.metrics()).entries()].filter(([name]) => name.includes('rejected')).join(' ')}`);
    });
  };
  /** The connection still answers, and so does that of another member. */
  const goesOn = async (socket) => {
    for (const enabled of [true, false]) {
      const from = socket.events.length;
      socket.send('send/unicast', { receiver: witness.id, subject: 'alive', body: from });
      await witness.until('a message', (client, from) => client.events.some(({ event, payload }) => event === 'send/unicast' && payload.body === from), from);
      if (!enabled) break;
    }
  };

  test('malformed JSON, unknown events and wrong types', async () => {
    const socket = await RawSocket.open(session, token, { query: '&glasshouse=1' });
    const wrong = [
      '', '{', 'null', '[]', '1', '"x"', '{}', '{"event":1}', '{"event":null,"payload":{}}', '{"event":"control/move"}', '{"event":"control/move","payload":7}',
      '{"event":"control/move","payload":{"x":"a","y":[]}}', '{"event":"control/keydown","payload":{"keysym":-1}}', '{"event":"control/keydown","payload":{"keysym":1e99}}',
      '{"event":"signal/request","payload":[]}', '{"event":"signal/request","payload":{"video":{"selector":5}}}', '{"event":"signal/video","payload":{"codec":{}}}',
      '{"event":"screen/set","payload":{"width":-1,"height":1e9,"rate":"x"}}', '{"event":"clipboard/set","payload":{"text":5}}', '{"event":"keyboard/map","payload":[]}',
      '{"event":"glasshouse/resize","payload":{"width":"9"}}', '{"event":"no/such/thing","payload":{}}', `${'['.repeat(100_000)}`, '{"event":"\\ud800"}', '\0',
    ];
    await rises('websocket', () => { for (const text of wrong) socket.text(text); });
    await goesOn(socket);
    await rises('websocket', () => socket.frame(BINARY, Buffer.from([0xff, 0xfe, 0, 1])));
    await goesOn(socket);
    assert.ok(socket.events.some(({ event }) => event === 'glasshouse/error'), 'a client that knows of it is told');
    await socket.close();
  });

  test('a message over 2 MiB closes that socket with 1009, one just below does not', async () => {
    const socket = await RawSocket.open(session, token);
    socket.send('send/broadcast', { subject: 'x', body: 'y'.repeat(2 * 1024 * 1024 - 1000) });
    await goesOn(socket);
    await rises('too_big', async () => {
      socket.text('x'.repeat(2 * 1024 * 1024 + 1));
      await until('it is closed', () => socket.closed);
    });
    assert.equal(socket.closed, 1009);
    socket.vanish();
    await witness.until('still shows', (client) => client.peer.connectionState === 'connected');
  });

  test('SDP and candidate garbage', async () => {
    const socket = await RawSocket.open(session, token, { query: '&glasshouse=1' });
    for (const sdp of ['', 'v=0', 'garbage', '\0\0', 'v=0\r\n'.repeat(10_000), `v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 99999999 X 5\r\n`]) {
      for (const event of ['signal/answer', 'signal/offer']) {
        socket.send('signal/request', { video: {}, audio: {} });
        const from = socket.events.length;
        await socket.event('signal/provide', () => true, from);
        await rises('signal', () => socket.send(event, { sdp }));
      }
    }
    for (const candidate of ['', 'candidate:', 'x'.repeat(100_000), 'candidate:1 1 udp 1 999.1.1.1 99999 typ host', 'candidate:1 1 UDP 1 224.0.0.1 0 typ host']) {
      socket.send('signal/candidate', { candidate, sdpMid: 'x', sdpMLineIndex: 9e9 });
      socket.send('signal/candidate', { candidate, sdpMid: '0', sdpMLineIndex: 0 });
    }
    // One's own offer as the answer; an answer twice.
    const { sdp } = socket.events.findLast(({ event }) => event === 'signal/provide').payload;
    socket.send('signal/answer', { sdp });
    socket.send('signal/answer', { sdp });
    await goesOn(socket);
    await socket.close();
    await witness.until('still shows', (client) => client.peer.connectionState === 'connected');
  });

  test('junk on the data channel', async () => {
    const member = await joinSession(browser, session, { name: 'junk' });
    await rises('data_channel', () => member.do((client) => {
      let seed = 7;
      const random = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) >>> 8;
      for (let i = 0; i < 500; i++) client.channel.send(Uint8Array.from({ length: random() % 64 }, random));
      client.channel.send(new Uint8Array(65535));
      client.channel.send('text');
      client.channel.send('');
      for (let opcode = 0; opcode < 256; opcode += 5) for (const length of [0, 1, 2]) client.channel.send(Uint8Array.from([opcode, 0xff, 0xff].slice(0, length + 1)));
    }));
    await member.do((client) => client.input(7, [4, 1], [4, 2]));
    await member.until('pong', (client) => client.pong);
    await member.close();
  });

  test('absurd key codes and buttons of the host', async () => {
    const member = await joinSession(browser, session, { name: 'absurd' });
    await member.do((client) => client.api('POST', '/api/room/control/take'));
    await member.until('is host', (client) => client.host === client.id);
    await rises('keysym', () => member.do((client) => { for (const key of [0, 0x20000000, 0xffffffff]) client.press(key); }));
    await rises('button', () => member.do((client) => { for (const code of [0, 16, 255, 0xffffffff]) client.click(code); }));
    // Keysyms in range that nothing produces.
    await member.do((client) => { for (const key of [1, 0x1fffffff, 0x0110ffff + 5, 0x0100d800]) client.press(key); });
    await member.do((client) => { for (const [x, y] of [[32767, -32768], [-32768, 32767]]) client.scroll(x, y, true); });
    await member.do((client) => client.input(7, [4, 1], [4, 2]));
    await member.until('pong', (client) => client.pong);
    await member.close();
  });

  test('requests beyond the API', async () => {
    for (const [method, path, body, status] of [
      ['POST', '/api/login', 'x', 400], ['POST', '/api/login', { username: 'x'.repeat(9999), password: 'x' }, 401], ['GET', '/api/nothing', undefined, 404],
      ['DELETE', '/api/login', undefined, 405], ['POST', '/api/room/screen', { width: -1, height: 1e12, rate: 'x' }, 400],
    ]) {
      const answer = await session.api(method, path, body, path === '/api/login' ? undefined : token);
      assert.ok(answer.status >= 400 && answer.status < 500, `${method} ${path}: ${answer.status} in place of ${status}`);
    }
    const large = await fetch(`${session.origin}/api/room/settings`, { method: 'POST', body: 'x'.repeat(3 * 1024 * 1024), headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' } }).catch(() => ({ status: 413 }));
    assert.equal(large.status, 413);
    assert.equal((await session.api('GET', '/healthz')).status, 200);
  });
});

describe('leaks', () => {
  test('300 peer connections and 700 WebSockets leave no thread, descriptor or memory', async () => {
    const session = await Session.start(['--app', 'none', '--no-sound']);
    const { token } = await session.login('cycles');
    const bare = async () => { await (await RawSocket.open(session, token)).close(); };
    const asking = async () => {
      const socket = await RawSocket.open(session, token);
      socket.send('signal/request', { video: {}, audio: {} });
      await socket.event('signal/provide');
      await socket.close();
    };
    const watching = async () => {
      const viewer = await joinSession(browser, session, { name: 'cycle', token });
      await viewer.close();
    };
    const idle = () => until('all viewers are gone', async () => await session.metric('glasshouse_viewers') === 0 && await session.metric('glasshouse_websockets') === 0);
    // Pools and caches fill at first.
    for (let i = 0; i < 30; i++) { await asking(); await bare(); }
    for (let i = 0; i < 2; i++) await watching();
    await idle();
    const before = usage(session.pid);
    for (let i = 0; i < 300; i++) await asking();
    for (let i = 0; i < 700; i++) await bare();
    for (let i = 0; i < 10; i++) await watching();
    await idle();
    // Encoders and idle keep-alive connections of the metrics' own requests go in their time.
    const now = await until('threads and descriptors are back', () => {
      const now = usage(session.pid);
      return now.threads <= before.threads && now.descriptors <= before.descriptors + 2 ? now : null;
    }).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(before)} → ${JSON.stringify(usage(session.pid))}`); });
    assert.ok(now.resident < before.resident + 16 * 1024, `${before.resident} kB → ${now.resident} kB`);
    console.log(`1,000 cycles: ${JSON.stringify(before)} → ${JSON.stringify(now)}`);
    await session.stop();
  });
});

describe('the end', () => {
  const directory = (session) => /^\/tmp\/glasshouse-[0-9a-f]+/.exec(session.xauthority)[0];
  const uids = (processes) => new Set(processes.map(({ pid }) => {
    try { return Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))[1]); } catch { return 0; }
  }).filter((uid) => uid >= 100000));
  const processesOf = (wanted) => readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try { return wanted.has(Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))[1])); } catch { return false; }
  });

  for (const signal of ['SIGKILL', 'SIGTERM']) {
    test(`${signal} leaves no process, no directory`, async () => {
      const session = await Session.start([]);
      await until('Chromium runs', () => session.processes().some(({ name }) => name === 'chromium'));
      const all = session.processes(), users = uids(all), path = directory(session);
      if (process.getuid() === 0) assert.ok(users.size > 0, 'the desktop has a user of its own');
      const { code } = await session.stop(signal);
      if (signal === 'SIGTERM') assert.equal(code, 0);
      await until('nothing is left', () => all.every((one) => !isAlive(one)) && processesOf(users).length === 0).catch((error) => {
        throw new Error(`${error.message}: ${processesOf(users).join(' ')}`);
      });
      const name = path.slice('/tmp/'.length);
      await until('its directory is gone', () => !readdirSync('/tmp').includes(name));
    });
  }
});

describe('what cannot start says so in one line', () => {
  const fails = (name, options, settings, pattern) => test(name, async () => {
    const { code, err } = await runToEnd(options, settings);
    assert.ok(code > 0, `exit code ${code}: ${err}`);
    // Wrong usage is followed by a hint of the parser, after an empty line.
    const [lines] = err.trim().split('\n\n');
    assert.match(lines, pattern);
    assert.equal(lines.split('\n').length, 1, err);
  });
  const base = ['session', '--listen', '127.0.0.1:0', '--json'];
  fails('unknown flag', ['session', '--no-such-flag'], {}, /^error: .*--no-such-flag/);
  fails('absurd size', [...base, '--screen', '1x1'], {}, /^error: .*320x240/);
  fails('a program that does not exist', [...base, '--', '/nonexistent'], {}, /^error: .*\/nonexistent/);
  fails('a display that does not exist', [...base, '--display', ':999'], {}, /^error: .*:999/);

  test('taken port', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const { code, err } = await runToEnd(['session', '--listen', `127.0.0.1:${taken.address().port}`, '--json']);
    taken.close();
    assert.ok(code > 0);
    assert.match(err, /^error: .*--listen/);
    assert.equal(err.trim().split('\n').length, 1, err);
  });
});

const paint = ({ display, xauthority }, color) => execFileSync('xsetroot', ['-solid', color], { env: { ...process.env, XAUTHORITY: xauthority, DISPLAY: display }, timeout: PATIENCE });

describe('other desktops', () => {
  test('Xvnc is killed and comes back, with the picture', async () => {
    const session = await Session.start(['--', 'xterm']);
    const viewer = await joinSession(browser, session);
    const [server] = session.processes().filter(({ name }) => name === 'Xvnc');
    process.kill(server.pid, 'SIGKILL');
    const states = (client) => client.events.filter(({ event, payload }) => event === 'glasshouse/program' && payload.name === 'x-server').map(({ payload }) => payload.state);
    await viewer.until('hears of it', states).catch(() => {});
    await viewer.until('the X server runs again', (client) => {
      const seen = client.events.filter(({ event, payload }) => event === 'glasshouse/program' && payload.name === 'x-server').map(({ payload }) => payload.state);
      return seen.includes('restarting') && seen.at(-1) === 'running';
    }).catch(async (error) => { throw new Error(`${error.message}: ${await viewer.do(states)} ${session.seen.err}`); });
    // A colour that only the new server has.
    await until('the new server is painted', () => { paint(session, '#00ff00'); return true; });
    await viewer.until('the new picture', (client) => { const [[r, g, b]] = client.colors([[1270, 710]]); return r < 20 && g > 235 && b < 20; });
    await session.stop();
  });

  test('-- xterm ends the session when it ends', async () => {
    const session = await Session.start(['--', 'xterm', '-e', 'sleep', '1000']);
    const all = session.processes();
    await until('xterm runs', () => session.processes().some(({ name }) => name === 'xterm'));
    process.kill(session.processes().find(({ name }) => name === 'xterm').pid, 'SIGTERM');
    const { code } = await within('the session ends', session.seen.ended);
    assert.equal(code, 0, session.seen.err);
    await until('nothing is left', () => all.every((one) => !isAlive(one)));
    assert.match(session.seen.err, /session ended/);
  });

  test('a display that exists already is shown, and left alone', async () => {
    // A session's own display is one that exists already, for another session.
    const first = await Session.start(['--app', 'none', '--no-sound', '--screen', '800x600']);
    const env = { XAUTHORITY: first.xauthority };
    const second = await Session.start(['--display', first.display, '--no-sound'], { env });
    const viewer = await joinSession(browser, second);
    await viewer.until('its size', (client) => client.video.videoWidth === 800 && client.video.videoHeight === 600);
    paint(first, '#00ff00');
    await viewer.until('green', (client) => { const [[r, g, b]] = client.colors([[400, 300]]); return r < 20 && g > 235 && b < 20; });
    await second.stop();
    assert.ok(first.processes().some(({ name }) => name === 'Xvnc'));
    paint(first, '#0000ff');
    // It goes away under a session that shows it.
    const third = await Session.start(['--display', first.display, '--no-sound'], { env });
    const seen = await joinSession(browser, third);
    await first.stop();
    const ended = await Promise.race([third.seen.ended.then(() => true), seen.until('a state', (client) => client.events.some(({ event, payload }) => event === 'glasshouse/program' && ['failed', 'stopped', 'restarting'].includes(payload.state)))]);
    assert.ok(ended);
    if (tree(third.pid).length) await third.stop();
  });

  test('an empty desktop', async () => {
    const session = await Session.start(['--app', 'none']);
    const viewer = await joinSession(browser, session);
    await viewer.until('a picture', (client) => client.video.videoWidth === 1280);
    assert.equal((await session.stop().then(({ code }) => code)), 0);
  });
});

// `start` for a session that must not become ready before it is stopped.
test('SIGTERM while starting ends it', async () => {
  const seen = start(['session', '--listen', '127.0.0.1:0', '--json']);
  await until('something runs', () => tree(seen.pid).length > 1);
  const all = tree(seen.pid);
  process.kill(seen.pid, 'SIGTERM');
  await within('it ends', seen.ended);
  await until('nothing is left', () => all.every((one) => !isAlive(one)));
});
