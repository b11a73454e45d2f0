// A client of neko that knows nothing of us: behaves as demodesk/neko-client does on the wire (it is not on npm), in a
// page of another server that passes /api on, as people embed it.

import assert from 'node:assert/strict';
import { createServer, request as forward } from 'node:http';
import { connect } from 'node:net';
import { after, afterEach, before, test } from 'node:test';
import { Session } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';
import { serve } from './raw-pages.mjs';

/** Serves `page` at / and passes everything else, WebSockets included, on to `target`. */
async function proxy(target, page) {
  const { hostname, port } = new URL(target);
  const server = createServer((request, response) => {
    if (request.url === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end(page);
    const passed = forward({ host: hostname, port, method: request.method, path: request.url, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passed.on('error', () => response.writeHead(502).end());
    return request.pipe(passed);
  });
  const sockets = new Set();
  server.on('upgrade', (request, socket, head) => {
    const passed = connect(Number(port), hostname);
    sockets.add(socket).add(passed);
    let lines = `${request.method} ${request.url} HTTP/1.1\r\n`;
    for (let i = 0; i < request.rawHeaders.length; i += 2) lines += `${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}\r\n`;
    passed.write(`${lines}\r\n`);
    passed.write(head);
    for (const [from, to] of [[socket, passed], [passed, socket]]) {
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    /** Every WebSocket is gone, as when a proxy restarts. */
    drop: () => { for (const socket of sockets) socket.destroy(); sockets.clear(); },
    stop: () => { for (const socket of sockets) socket.destroy(); server.closeAllConnections(); return new Promise((resolve) => server.close(resolve)); },
  };
}

// What the client relies on: streams of the tracks, its own candidates trickled, one data channel by the server, input of
// the host by it and of others by the WebSocket, and a state that is kept from events alone.
const CLIENT = `<!doctype html><meta charset="utf-8"><video muted autoplay playsinline></video><script>
class Neko {
  sessions = {}; status = 'disconnected'; candidates = []; received = []; failures = [];
  constructor(video) { this.video = video; }
  async login(username, password) {
    const response = await fetch('/api/login', { method: 'POST', credentials: 'include', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username, password }) });
    const answer = await response.json();
    this.token = answer.token;
    return answer;
  }
  async rest(method, path, body) {
    const response = await fetch('/api' + path, { method, credentials: 'include', headers: { Authorization: 'Bearer ' + this.token, 'content-type': 'application/json' }, body: body && JSON.stringify(body) });
    const text = await response.text();
    return { status: response.status, body: text ? JSON.parse(text) : undefined };
  }
  connect() {
    this.status = 'connecting';
    this.ws = new WebSocket(location.origin.replace('http', 'ws') + '/api/ws?token=' + encodeURIComponent(this.token));
    this.ws.onmessage = async ({ data }) => {
      const { event, payload } = JSON.parse(data);
      this.last = Date.now();
      this.received.push(event);
      try { await this.on[event]?.call(this, payload); } catch (error) { this.failures.push(event + ': ' + error.message); }
    };
    this.ws.onopen = () => this.request();
    this.ws.onclose = () => { if (this.status !== 'disconnected') { this.status = 'connecting'; setTimeout(() => this.connect(), 1500); } };
  }
  send(event, payload) { this.ws.send(JSON.stringify({ event, payload })); }
  request() { if (this.ws.readyState === 1 && !this.isConnected) this.send('signal/request', { video: { auto: true }, audio: {}, auto: true }); }
  get isOpen() { return this.channel?.readyState === 'open'; }
  get isConnected() { return this.isOpen && ['connected', 'checking', 'completed'].includes(this.peer?.iceConnectionState); }
  get isHost() { return this.host === this.id; }
  on = {
    'system/init'(init) {
      this.id = init.session_id; this.videos = init.webrtc.videos; this.screencast = init.screencast_enabled; this.touch = init.touch_events;
      this.sessions = init.sessions; this.screen = init.screen_size; this.host = init.control_host.has_host ? init.control_host.host_id : null; this.settings = init.settings;
    },
    'system/admin'(admin) { this.sizes = admin.screen_sizes_list.sort((a, b) => b.width - a.width || b.height - a.height || b.rate - a.rate); this.broadcast = admin.broadcast_status.is_active; },
    'system/settings'(settings) { this.settings = settings; },
    'system/disconnect'({ message }) { this.status = 'disconnected'; this.why = message; this.ws.close(); this.peer?.close(); },
    async 'signal/provide'({ sdp, iceservers, video }) {
      this.stream = video.id ?? video;
      this.peer?.close();
      this.channel = undefined;
      const peer = this.peer = new RTCPeerConnection({ iceServers: iceservers });
      peer.onicecandidate = ({ candidate }) => { if (candidate) this.send('signal/candidate', candidate.toJSON()); };
      peer.onconnectionstatechange = () => { if (peer.connectionState === 'connected') this.status = 'connected'; };
      peer.onnegotiationneeded = () => { this.failures.push('negotiation needed'); };
      peer.ontrack = ({ track, streams }) => {
        if (!streams[0]) { this.failures.push('no stream provided for track'); return; }
        if (track.kind === 'video') { this.video.srcObject = streams[0]; this.video.play(); } else { this.audio = streams[0]; }
      };
      peer.ondatachannel = ({ channel }) => {
        this.channel = channel; channel.binaryType = 'arraybuffer';
        channel.onmessage = ({ data }) => this.data(data);
        channel.onerror = () => this.failures.push('data channel error');
      };
      await this.offer(sdp);
    },
    'signal/offer'({ sdp }) { return this.offer(sdp); },
    'signal/restart'({ sdp }) { return this.offer(sdp); },
    'signal/answer'({ sdp }) { return this.peer.setRemoteDescription({ type: 'answer', sdp }); },
    'signal/candidate'(candidate) { return this.peer ? this.peer.addIceCandidate(candidate) : this.candidates.push(candidate); },
    'signal/video'({ id, auto }) { this.stream = id; this.auto = auto; },
    'signal/close'() { this.peer.close(); this.channel = undefined; this.request(); },
    'session/created'(session) { this.sessions[session.id] = session; },
    'session/deleted'({ id }) { delete this.sessions[id]; },
    'session/state'({ id, ...state }) { if (this.sessions[id]) this.sessions[id].state = state; },
    'session/profile'({ id, ...profile }) { if (this.sessions[id]) this.sessions[id].profile = profile; },
    'session/cursors'(cursors) { this.cursors = cursors; },
    'control/host'({ has_host, host_id }) { this.host = has_host && host_id ? host_id : null; },
    'screen/updated'({ width, height, rate }) { this.screen = { width, height, rate }; },
    'clipboard/updated'({ text }) { this.clipboard = text; },
    'send/broadcast'(message) { this.said = message; },
  };
  async offer(sdp) {
    await this.peer.setRemoteDescription({ type: 'offer', sdp });
    for (const candidate of this.candidates.splice(0)) await this.peer.addIceCandidate(candidate);
    const answer = await this.peer.createAnswer();
    answer.sdp = answer.sdp.replace(/(stereo=1;)?useinbandfec=1/, 'useinbandfec=1;stereo=1');
    await this.peer.setLocalDescription(answer);
    this.send('signal/answer', { sdp: answer.sdp });
  }
  data(buffer) {
    const view = new DataView(buffer), length = view.getUint16(1), max = 2 ** 32 - 1;
    if (view.getUint8(0) === 1) this.cursor = { x: view.getUint16(3), y: view.getUint16(5) };
    if (view.getUint8(0) === 2) this.picture = URL.createObjectURL(new Blob([buffer.slice(11, length - 11)], { type: 'image/png' }));
    if (view.getUint8(0) === 3) {
      const sent = view.getUint32(3) * max + view.getUint32(7), answered = view.getUint32(11) * max + view.getUint32(15);
      this.latency = { there: answered - sent, back: Date.now() - answered };
    }
  }
  write(opcode, ...words) {
    const size = words.length === 1 ? 4 : words.length === 2 && opcode === 7 ? 8 : 4;
    const view = new DataView(new ArrayBuffer(3 + size));
    view.setUint8(0, opcode); view.setUint16(1, size);
    if (opcode <= 2) { view.setInt16(3, words[0]); view.setInt16(5, words[1]); } else words.forEach((word, i) => view.setUint32(3 + 4 * i, word));
    this.channel.send(view.buffer);
  }
  ping() { const now = Date.now(), max = 2 ** 32 - 1; this.write(7, Math.trunc(now / max), now % max); }
  get byChannel() { return this.isConnected && this.isHost; }
  move(x, y) { if (this.byChannel) this.write(1, x, y); else this.send('control/move', { x, y }); }
  scroll(x, y) { if (this.byChannel) this.write(2, x, y); else this.send('control/scroll', { x, y }); }
  key(keysym) { for (const [opcode, name] of [[3, 'keydown'], [4, 'keyup']]) if (this.byChannel) this.write(opcode, keysym); else this.send('control/' + name, { keysym }); }
  click(code) { for (const [opcode, name] of [[5, 'buttondown'], [6, 'buttonup']]) if (this.byChannel) this.write(opcode, code); else this.send('control/' + name, { code }); }
}
window.neko = new Neko(document.querySelector('video'));
</script>`;

let pages, session, front, browser;
before(async () => {
  pages = await serve({ field: `<textarea autofocus style="position:fixed;inset:0;width:100%;height:100%"></textarea><script>
    const field = document.querySelector('textarea');
    field.addEventListener('input', () => say({ type: 'text', text: field.value }));
    field.addEventListener('select', () => say({ type: 'selected' }));
    addEventListener('mousedown', (e) => say({ type: 'mousedown', screen: [e.screenX, e.screenY] }));
    addEventListener('wheel', (e) => say({ type: 'wheel', y: e.deltaY }), { passive: true });
    say({ type: 'ready' });
  </script>` });
  session = await Session.start(['--url', pages.url('field'), '--app-flag=--kiosk']);
  front = await proxy(session.origin, CLIENT);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await front?.stop();
  await session?.stop();
  await pages?.stop();
});

// One that a failed test has left would still be in control.
afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));

async function open(name, password) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(front.origin);
  await page.evaluate(([name, password]) => window.neko.login(name, password).then(() => window.neko.connect()), [name, password]);
  const one = {
    context,
    do: (code, argument) => page.evaluate(`(${code})(window.neko, ${JSON.stringify(argument) ?? 'undefined'})`),
    until: (what, code) => until(`${name}: ${what}`, () => one.do(code)),
  };
  await one.until('plays', (neko) => neko.status === 'connected' && neko.isOpen && neko.video.videoWidth > 0 && neko.video.currentTime > 0);
  return one;
}
const text = () => pages.reports.findLast(({ type }) => type === 'text')?.text;
const written = (expected) => until('the text', () => text() === expected).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(text())} in place of ${JSON.stringify(expected)}`); });

test('logs in, connects, plays, takes control, types, resizes, copies and pastes', async () => {
  const neko = await open('member', session.admin_password);
  assert.deepEqual(await neko.do((neko) => ({ videos: neko.videos, screencast: neko.screencast, touch: neko.touch, size: [neko.video.videoWidth, neko.video.videoHeight], rate: neko.screen.rate, sound: neko.audio?.getAudioTracks().length, broadcast: neko.broadcast })),
    { videos: ['high', 'medium', 'low'], screencast: true, touch: false, size: [1280, 720], rate: 60, sound: 1, broadcast: false });
  await neko.until('is shown as watching', (neko) => neko.sessions[neko.id].state.is_watching);
  assert.equal(await neko.do(async (neko) => (await neko.rest('GET', '/whoami')).body.id === neko.id), true);

  // Input of somebody who is not host goes by the WebSocket, and asks for control.
  await neko.do((neko) => neko.move(300, 200));
  await neko.until('is host', (neko) => neko.isHost);
  await until('the page is there', () => pages.reports.some(({ type }) => type === 'ready'));
  // Chromium drops input until a page was first painted, and does not say when that is.
  await until('letters arrive', async () => { await neko.do((neko) => neko.key(0x61)); return text(); });
  await neko.do((neko) => { neko.move(300, 200); neko.click(1); });
  // Keys overtake clicks inside Chromium, which finds out first whom a click hits.
  await until('the click', () => pages.reports.some(({ type, screen }) => type === 'mousedown' && screen[0] === 300 && screen[1] === 200));
  await neko.do((neko) => neko.send('control/select_all'));
  // This goes by the WebSocket and the letters by the data channel: which is first is open.
  await until('the selection', () => pages.reports.some(({ type }) => type === 'selected'));
  for (const letter of 'Hi ü!') await neko.do((neko, code) => neko.key(code), letter.codePointAt(0));
  await written('Hi ü!');
  await neko.do((neko) => { neko.move(640, 360); neko.scroll(0, -3); });
  await until('the wheel', () => pages.reports.some(({ type, y }) => type === 'wheel' && y > 0));

  await neko.do((neko) => neko.send('control/select_all'));
  await neko.do((neko) => neko.send('control/paste', { text: 'Größe 世界 😀' }));
  await written('Größe 世界 😀');
  await neko.do((neko) => { neko.clipboard = null; neko.send('control/select_all'); neko.send('control/copy'); });
  await neko.until('the copied text', (neko) => neko.clipboard === 'Größe 世界 😀');
  await neko.do((neko) => neko.send('clipboard/set', { text: 'set' }));
  await neko.until('what was set', (neko) => neko.clipboard === 'set');

  await neko.do((neko) => neko.ping());
  const { there, back } = await neko.until('the answer to a ping', (neko) => neko.latency);
  assert.ok(Math.abs(there) < 10_000 && Math.abs(back) < 10_000, `clocks of one machine: ${there}, ${back}`);
  assert.equal(await neko.do(async (neko) => { const image = new Image(); image.src = neko.picture; await image.decode(); return image.naturalWidth > 0; }), true);

  const size = await neko.do((neko) => neko.sizes.find(({ width }) => width < 1280));
  await neko.do((neko, size) => neko.send('screen/set', size), size);
  await neko.until('the new size', `(neko) => neko.screen.width === ${size.width} && neko.video.videoWidth === ${size.width} && neko.video.videoHeight === ${size.height}`);
  assert.equal((await neko.do((neko) => neko.rest('POST', '/room/screen', { width: 1280, height: 720, rate: 60 }))).status, 200);
  await neko.until('the old size', (neko) => neko.video.videoWidth === 1280);

  // What it sends on congestion: a field that is unknown, and a restart.
  await neko.do((neko) => { neko.send('signal/video', { video: 'low', bitrate: 0, video_auto: false }); neko.send('signal/restart'); });
  await neko.until('the restart', (neko) => neko.received.includes('signal/restart') && neko.peer.signalingState === 'stable');
  await neko.do((neko) => { neko.send('system/logs', [{ level: 'debug', fields: { a: 1 }, message: 'x' }]); neko.send('keyboard/map', { layout: 'us' }); neko.send('keyboard/modifiers', { capslock: false, numlock: false }); });
  assert.equal(await neko.do(async (neko) => (await fetch('/api/room/screen/cast.jpg', { headers: { Authorization: 'Bearer ' + neko.token } })).headers.get('content-type')), 'image/jpeg');
  assert.deepEqual(await neko.do((neko) => neko.failures), []);
  assert.deepEqual(await neko.do((neko) => neko.received.filter((event) => event.startsWith('glasshouse/'))), []);
  await neko.do((neko) => neko.send('control/release'));
  await neko.until('is not host', (neko) => neko.host === null);
  await neko.context.close();
});

test('two of them share the room, and one that lost its WebSocket comes back', async () => {
  const one = await open('one', session.admin_password);
  const two = await open('two', session.user_password);
  const ids = [await one.do((neko) => neko.id), await two.do((neko) => neko.id)];
  await one.until('sees the other', `(neko) => neko.sessions[${JSON.stringify(ids[1])}]?.state.is_watching`);
  await one.do((neko) => neko.send('control/request'));
  await two.until('sees the host', `(neko) => neko.host === ${JSON.stringify(ids[0])}`);
  await one.do((neko) => neko.move(123, 45));
  await two.until("sees the host's pointer", (neko) => neko.cursor?.x === 123 && neko.cursor?.y === 45);
  await two.do((neko) => neko.write(1, 400, 300));
  await one.until("sees the other's pointer", `(neko) => neko.cursors?.some(({ id, cursors }) => id === ${JSON.stringify(ids[1])} && cursors.at(-1).x === 400)`);
  await two.do((neko) => neko.send('send/broadcast', { subject: 'chat', body: { text: 'hello' } }));
  await one.until('hears', (neko) => neko.said?.subject === 'chat' && neko.said.body.text === 'hello');

  front.drop();
  for (const [i, neko] of [one, two].entries()) {
    await neko.until('is greeted again', (neko) => neko.received.filter((event) => event === 'system/init').length === 2);
    assert.equal(await neko.do((neko) => neko.id), ids[i]);
    await neko.until('still plays', (neko) => neko.isConnected);
  }
  assert.equal(await one.do((neko) => neko.host), ids[0]);

  assert.equal((await one.do((neko, id) => neko.rest('DELETE', `/sessions/${id}`), ids[1])).status, 204);
  await two.until('is told why', (neko) => neko.status === 'disconnected' && neko.why === 'session deleted');
  assert.equal((await one.do((neko) => neko.rest('POST', '/logout'))).status, 200);
  await one.until('is out', (neko) => neko.status === 'disconnected');
});
