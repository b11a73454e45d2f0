// Many real WebRTC viewers in one headless Chromium, without the cost of decoding their pictures.
//
// Each viewer logs in, signals as neko v3 says and receives every packet through Chromium's own network, SRTP and reassembly.
// A transform counts the finished frames and puts a tiny valid picture in their place, so that 50 decoders fit on two cores and
// Chromium still sees frames decode (it would ask for key frames otherwise).

import { chromium } from 'playwright-core';
import { CHROMIUM } from './desktop.mjs';

/** Opens `count` viewers of a session; `login` is a token for as many. Returns handles to count frames with. */
export async function openCrowd(origin, login, count) {
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ['--no-sandbox', '--disable-quic', '--disable-background-networking'] });
  try {
    const page = await browser.newPage();
    await page.goto(`${origin}/healthz`);
    await page.evaluate(joinAll, { login, count });
    return {
      /** Frames and bytes received by each viewer so far. */
      counts: () => page.evaluate('window.__counts()'),
      close: () => browser.close(),
    };
  } catch (error) {
    await browser.close();
    throw error;
  }
}

// Runs in the page.
async function joinAll({ login, count }) {
  const tiny = await new Promise((resolve, reject) => {
    const encoder = new VideoEncoder({ output: (chunk) => { const bytes = new Uint8Array(chunk.byteLength); chunk.copyTo(bytes); resolve(bytes); }, error: reject });
    encoder.configure({ codec: 'vp8', width: 16, height: 16 });
    const frame = new VideoFrame(new Uint8Array(16 * 16 * 4), { format: 'RGBX', codedWidth: 16, codedHeight: 16, timestamp: 0 });
    encoder.encode(frame, { keyFrame: true });
    frame.close();
    encoder.flush().catch(reject);
  });
  const viewers = [];
  window.__counts = () => viewers.map(({ frames, bytes }) => ({ frames, bytes }));

  const join = async (n) => {
    const response = await fetch('/api/login', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username: `viewer ${n}`, password: login }) });
    if (!response.ok) throw new Error(`login: ${response.status} ${await response.text()}`);
    const { token } = await response.json();
    const viewer = { frames: 0, bytes: 0 };
    viewers.push(viewer);
    const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/api/ws?token=${encodeURIComponent(token)}`);
    const send = (event, payload) => socket.send(JSON.stringify({ event, payload }));
    await new Promise((resolve, reject) => {
      let peer;
      const early = [];
      setTimeout(() => reject(new Error(`viewer ${n}: no connection within 20 s`)), 20000);
      socket.onerror = () => reject(new Error(`viewer ${n}: WebSocket failed`));
      socket.onopen = () => send('signal/request', { video: { codec: 'vp8' }, audio: { disabled: true } });
      socket.onmessage = async ({ data }) => {
        const { event, payload } = JSON.parse(data);
        if (event === 'signal/provide') {
          peer = new RTCPeerConnection({ iceServers: payload.iceservers ?? [], encodedInsertableStreams: true });
          peer.onicecandidate = ({ candidate }) => candidate && send('signal/candidate', candidate.toJSON());
          peer.onconnectionstatechange = () => peer.connectionState === 'connected' && resolve();
          peer.ontrack = ({ receiver, track }) => {
            const { readable, writable } = receiver.createEncodedStreams();
            if (track.kind !== 'video') { readable.pipeTo(writable); return; }
            readable.pipeThrough(new TransformStream({
              transform(frame, controller) {
                viewer.frames++;
                viewer.bytes += frame.data.byteLength;
                frame.data = tiny.buffer.slice(0);
                controller.enqueue(frame);
              },
            })).pipeTo(writable);
          };
          await peer.setRemoteDescription({ type: 'offer', sdp: payload.sdp });
          for (const candidate of early) await peer.addIceCandidate(candidate);
          const answer = await peer.createAnswer();
          await peer.setLocalDescription(answer);
          send('signal/answer', { sdp: answer.sdp });
        } else if (event === 'signal/candidate') {
          if (peer?.remoteDescription) await peer.addIceCandidate(payload); else early.push(payload);
        } else if (event === 'system/heartbeat') {
          send('client/heartbeat');
        }
      };
    });
  };
  for (let n = 0; n < count; n++) await join(n);
}
