// Programs at the wheel: computer use against the DevTools protocol, and many programs at work while people watch.

import { chromium } from 'playwright-core';
import WebSocket from 'ws';
import { CHROMIUM } from '../lib/desktop.mjs';
import { Glasshouse } from '../lib/glasshouse.mjs';
import { quantile } from '../lib/photon.mjs';
import { sleep, until } from '../lib/process.mjs';
import { programs as work } from '../lib/programs.mjs';
import { Server } from '../lib/server.mjs';
import { fixed, median, note } from '../lib/table.mjs';

export async function programs({ pages, quick, failed }) {
  const results = {};
  for (const [name, part] of Object.entries({ screenshots, clicks, many })) {
    try {
      results[name] = await part(pages, quick);
    } catch (error) {
      failed(name, error);
    }
  }
  return results;
}

/** A session's page, over the DevTools protocol, through the gate. */
class Devtools {
  static async open(session, path) {
    const devtools = new Devtools();
    await until('the page', async () => {
      const list = await (await fetch(`${session.origin}/json/list${new URL(session.cdp).search}`)).json().catch(() => []);
      devtools.url = list.find?.(({ type, url }) => type === 'page' && url.includes(path))?.webSocketDebuggerUrl;
      return devtools.url;
    });
    const socket = devtools.socket = new WebSocket(devtools.url, { perMessageDeflate: false, maxPayload: 0 });
    let next = 0;
    const waiting = new Map();
    socket.on('message', (data) => {
      const message = JSON.parse(data);
      if (message.method === 'Runtime.bindingCalled') devtools.called?.(performance.now());
      waiting.get(message.id)?.(message);
      waiting.delete(message.id);
    });
    await new Promise((resolve, reject) => { socket.on('open', resolve); socket.on('error', reject); });
    devtools.call = (method, params = {}) => new Promise((resolve, reject) => {
      const id = ++next;
      waiting.set(id, ({ result, error }) => (error ? reject(new Error(`${method}: ${error.message}`)) : resolve(result)));
      socket.send(JSON.stringify({ id, method, params }));
    });
    return devtools;
  }

  close() { this.socket?.close(); }
}

/** The same screen as JPEG, by computer use and by the browser itself, in turns. */
async function screenshots(pages, quick) {
  const session = new Glasshouse(), times = { ours: [], theirs: [] };
  let devtools;
  try {
    await session.start(pages.url('static'));
    devtools = await Devtools.open(session, 'static');
    await sleep(1_500);
    const headers = { authorization: `Bearer ${session.admin}` };
    const ours = async () => {
      const response = await fetch(`${session.origin}/v1/desktop/screenshot?format=jpeg&quality=80`, { headers });
      const picture = Buffer.from(await response.arrayBuffer());
      if (picture[0] !== 0xff) throw new Error(`no JPEG: ${picture.subarray(0, 200)}`);
    };
    const theirs = async () => {
      const { data } = await devtools.call('Page.captureScreenshot', { format: 'jpeg', quality: 80 });
      Buffer.from(data, 'base64');
    };
    for (let round = 0; round < (quick ? 25 : 110); round += 1) {
      for (const [name, take] of [['ours', ours], ['theirs', theirs]]) {
        const from = performance.now();
        await take();
        // The first ones find nothing warm.
        if (round >= 10) times[name].push(performance.now() - from);
      }
    }
  } finally {
    devtools?.close();
    await session.stop();
  }
  const [ours, theirs] = [median(times.ours), median(times.theirs)];
  note('programs', 'a screenshot of 1280×720 as JPEG by Page.captureScreenshot, p50', `${fixed(theirs)} ms`);
  note('programs', 'the same by computer use, p50', `${fixed(ours)} ms, ${fixed(ours / theirs, 2)}×`, '≤ 0.5×', ours / theirs <= 0.5);
  return times;
}

/** From the request for a click to its event, of which the page tells at once over the DevTools protocol. */
async function clicks(pages, quick) {
  const session = new Glasshouse(), times = [];
  let devtools;
  try {
    await session.start(pages.url('static'));
    devtools = await Devtools.open(session, 'static');
    await devtools.call('Runtime.enable');
    await devtools.call('Runtime.addBinding', { name: 'pressed' });
    await devtools.call('Runtime.evaluate', { expression: "addEventListener('mousedown', () => pressed(''), true)" });
    await sleep(1_500);
    const headers = { authorization: `Bearer ${session.admin}`, 'content-type': 'application/json' };
    for (let round = 0; round < (quick ? 25 : 110); round += 1) {
      const called = new Promise((resolve) => { devtools.called = resolve; });
      const from = performance.now();
      const asked = fetch(`${session.origin}/v1/desktop/mouse/click`, { method: 'POST', headers, body: JSON.stringify({ x: 400 + round, y: 300 }) });
      const at = await Promise.race([called, sleep(10_000).then(() => { throw new Error('a click never came'); })]);
      if (round >= 10) times.push(at - from);
      await (await asked).arrayBuffer();
      await sleep(30);
    }
  } finally {
    devtools?.close();
    await session.stop();
  }
  note('programs', 'a click by computer use → its event in the page, p50', `${fixed(median(times))} ms`, '≤ 20 ms', median(times) <= 20);
  note('programs', 'the same, p95', `${fixed(quantile(times, 0.95))} ms`);
  return times;
}

/** Many programs at work. */
async function many(pages, quick) {
  const [count, seconds] = quick ? [4, 20] : [20, 600];
  const server = new Server();
  const url = pages.url('static');
  await server.start(new URL(url).port, ['--max-sessions', `${count}`, '--idle-freeze', '0']);
  const viewers = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ['--no-sandbox', '--disable-quic'] });
  try {
    const { url: base, token, pid } = server;
    const result = await work({ server: { url: base, token, pid: pid ?? server.child.pid, processOf: (id) => server.processOf(id) }, chromium, viewers, url, count, seconds });
    const actions = Object.values(result.done).reduce((sum, times) => sum + times, 0);
    note('programs', `${count} programs on ${count} sessions for ${seconds} s, people watching two: actions`, `${actions}`);
    note('programs', 'errors of it', `${result.failures}`, '0', result.failures === 0);
    const { before, during, after } = result.server;
    const isClean = result.left === 0 && after.descriptors <= before.descriptors && result.sessions.descriptors <= 0;
    note('programs', 'left of it: processes, descriptors of the server, of a session', `${result.left}, ${after.descriptors - before.descriptors}, ${result.sessions.descriptors}`, 'nothing', isClean);
    note('programs', 'memory of the server before, during, after', `${[before.resident, during, after.resident].map((kb) => fixed(kb / 1024)).join(', ')} MiB`);
    for (const text of result.errors) console.log(`    ${text}`);
    return result;
  } finally {
    await viewers.close();
    await server.stop();
  }
}
