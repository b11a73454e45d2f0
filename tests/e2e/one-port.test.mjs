// One port for the media of all sessions: each viewer gets a socket of its own there, which needs the server no more.

import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { after, before, test } from 'node:test';
import { servePages } from './lib/pages.mjs';
import { Fleet } from './lib/serve.mjs';
import { launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';

const COLORS = { red: [200, 40, 40], blue: [40, 80, 200] };

let pages, fleet, browser, port;
const sessions = {}, viewers = {};
before(async () => {
  pages = await servePages();
  fleet = await Fleet.start([], { session: ['--app-flag=--kiosk', `--expose=${new URL(pages.url('x')).port}`] });
  port = Number(new URL(fleet.url).port);
  // The next server takes the same port.
  fleet.arguments[2] = `127.0.0.1:${port}`;
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await pages?.stop();
});

/** Opens the page of a session, by candidates of one protocol only if one is given. */
async function watch(session, protocol = null) {
  const { status, body } = await fleet.api('POST', `api/v1/sessions/${session.id}/links`, { admin: true });
  assert.equal(status, 201, JSON.stringify(body));
  const page = await (await browser.newContext()).newPage();
  await page.addInitScript((protocol) => {
    const Native = window.RTCPeerConnection;
    window.peers = [];
    window.decoded = 0;
    window.RTCPeerConnection = class extends Native {
      constructor(...options) {
        super(...options);
        window.peers.push(this);
      }
      setRemoteDescription({ type, sdp }) {
        const keep = (line) => !line.startsWith('a=candidate:') || !protocol || line.split(' ')[2].toLowerCase() === protocol;
        return super.setRemoteDescription({ type, sdp: sdp.split('\r\n').filter(keep).join('\r\n') });
      }
      addIceCandidate(candidate) {
        if (protocol && candidate?.candidate && candidate.candidate.split(' ')[2].toLowerCase() !== protocol) return Promise.resolve();
        return super.addIceCandidate(candidate);
      }
    };
    // Of the present peer connection; one that is closed tells nothing more.
    setInterval(async () => {
      const peer = window.peers.at(-1);
      for (const report of (await peer?.getStats())?.values() ?? []) {
        if (report.type === 'inbound-rtp' && report.kind === 'video') peer.decoded = report.framesDecoded;
      }
      window.decoded = window.peers.reduce((sum, { decoded = 0 }) => sum + decoded, 0);
    }, 50);
  }, protocol);
  await page.goto(body.url);
  return page;
}

/** Waits for the picture of a session, which has its colour in the middle. */
async function shows(page, name) {
  let seen;
  await until(`the picture of ${name}`, async () => {
    seen = await page.evaluate(() => {
      const video = document.querySelector('video');
      // The page paints frames itself, or leaves that to the element.
      const painted = video?.parentElement.querySelector('canvas:not([hidden])');
      const [source, width, height] = painted?.width > 0 ? [painted, painted.width, painted.height] : [video, video?.videoWidth, video?.videoHeight];
      if (!width) return null;
      const canvas = document.createElement('canvas');
      const context = canvas.getContext('2d');
      context.drawImage(source, width / 2, height / 2, 1, 1, 0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data];
    });
    return seen && COLORS[name].every((value, i) => Math.abs(value - seen[i]) <= 12);
  }).catch((error) => { throw new Error(`${error.message}; seen ${seen}`); });
}

/** Shows that frames keep coming. */
async function goOn(names, when) {
  const decoded = (name) => viewers[name].evaluate(() => window.decoded);
  // All at once: a room keeps a viewer without WebSocket for some seconds only.
  const before = await Promise.all(names.map(decoded));
  await Promise.all(names.map((name, i) => until(`${name} goes on ${when}`, async () => await decoded(name) > before[i] + 3)));
}

/** The candidate of the server that is used. */
const used = (page) => until('a pair of candidates', () => page.evaluate(async () => {
  const reports = await window.peers.at(-1).getStats();
  const pair = [...reports.values()].find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
  const candidate = pair && reports.get(pair.remoteCandidateId);
  return candidate && { protocol: candidate.protocol, port: candidate.port };
}));

async function metric(name) {
  const { body } = await fleet.api('GET', 'metrics', undefined, { token: null });
  return Number(new RegExp(`^${name}(?:_total)? (\\d+)$`, 'm').exec(body)?.[1]);
}

test('viewers of two sessions see theirs through the port of the server, over UDP and over TCP', async () => {
  for (const [name, color] of Object.entries(COLORS)) {
    sessions[name] = await fleet.create({ url: `${pages.url('blink.html')}?color=rgb(${color})`, sound: false, idle_freeze_seconds: 0 });
  }
  for (const [viewer, name, protocol] of [['red', 'red', null], ['blue', 'blue', null], ['tcp', 'red', 'tcp']]) {
    viewers[viewer] = await watch(sessions[name], protocol);
    await shows(viewers[viewer], name);
    assert.deepEqual(await used(viewers[viewer]), { protocol: protocol ?? 'udp', port }, viewer);
  }
  // They are counted after they were handed over.
  await until('the sockets are counted', async () => await metric('glasshouse_media_udp_handed') >= 2 && await metric('glasshouse_media_tcp_handed') >= 1);
});

test('what is for nobody is counted, and changes nothing', async () => {
  // One that a failure leaves open does not keep the file from ending.
  const socket = createSocket('udp4').unref();
  const before = await metric('glasshouse_media_strange');
  const handed = await metric('glasshouse_media_udp_handed');
  const request = (username) => {
    const name = Buffer.from(username);
    const padded = Buffer.alloc(Math.ceil(name.length / 4) * 4);
    name.copy(padded);
    const head = Buffer.from([0, 1, 0, 4 + padded.length, 0x21, 0x12, 0xa4, 0x42, ...Array(12).fill(7), 0, 6, 0, name.length]);
    return Buffer.concat([head, padded]);
  };
  const send = (message) => new Promise((resolve) => { socket.send(message, port, '127.0.0.1', resolve); });
  for (let i = 0; i < 3_000; i++) await send(i % 3 ? request(`${'abcdefgh23456727'}+${i}:x`) : Buffer.alloc(i % 1400, i % 256));
  await until('most of it is counted', async () => await metric('glasshouse_media_strange') - before >= 1_000);
  socket.close();
  // Viewers may have got another of their own.
  assert.ok(await metric('glasshouse_media_udp_handed') <= handed + 10);
  await goOn(['red', 'blue', 'tcp'], 'with it');
});

test('a server that is killed takes no picture along, and the next one has the same port', async () => {
  fleet.seen.child.kill('SIGKILL');
  await fleet.seen.ended;
  await goOn(['red', 'blue', 'tcp'], 'without a server');
  await fleet.serve();
  assert.equal(Number(new URL(fleet.url).port), port);
  const late = await watch(sessions.blue);
  await shows(late, 'blue');
  assert.deepEqual(await used(late), { protocol: 'udp', port });
  for (const [viewer, name] of [['red', 'red'], ['blue', 'blue'], ['tcp', 'red']]) {
    await until(`${viewer} is back`, () => viewers[viewer].evaluate(() => window.glasshouse?.state === 'live'));
    await shows(viewers[viewer], name);
  }
});

test('a session that is killed takes nobody along', async () => {
  const [session] = fleet.processes(sessions.red.id);
  process.kill(session.pid, 'SIGKILL');
  await until('it is over', async () => (await fleet.api('GET', `api/v1/sessions/${sessions.red.id}`)).body.state === 'failed');
  await goOn(['blue'], 'after it');
  const another = await watch(sessions.blue, 'tcp');
  await shows(another, 'blue');
});

// A test and not a hook: what a failure leaves is cleared away before hooks of this file.
test('nothing is left at the end', async () => {
  await browser.close();
  assert.equal(await fleet.stop(), 0);
});
