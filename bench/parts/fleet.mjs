// From a request to create a session to its page on the screen and CDP at hand: from the pool, from a frozen pool, and cold. What the
// server costs a message of a WebSocket. And many sessions at once, busy and then idle.

import { hop } from '../lib/hop.mjs';
import { many } from '../lib/many.mjs';
import { sleep, until } from '../lib/process.mjs';
import { Server } from '../lib/server.mjs';
import { fixed, median, note } from '../lib/table.mjs';

/** Milliseconds until the session is ready, CDP answers, its page is painted, and all of these. */
async function once(server, pages, url) {
  const from = performance.now(), since = () => performance.now() - from;
  const paint = pages.nextPaint().then(since);
  const { id } = await server.call('POST', 'api/v1/sessions?wait=60', { url });
  const ready = since();
  const { token } = await until('CDP', () => server.call('POST', `api/v1/sessions/${id}/cdp`).catch(() => false), { every: 5 });
  await server.call('GET', `s/${id}/json/version`, undefined, token);
  const driven = since(), painted = await paint;
  await server.call('DELETE', `api/v1/sessions/${id}`);
  return { ready, driven, painted, all: Math.max(driven, painted) };
}

async function rounds(pages, count, options) {
  const server = new Server(), url = pages.url('first'), all = [];
  const wanted = options.includes('--pool') ? 1 : 0;
  await server.start(new URL(url).port, options);
  try {
    for (let round = 0; round < count; round++) {
      await until('the pool', async () => await server.warm() === wanted);
      await sleep(300);
      all.push(await once(server, pages, url));
    }
  } finally {
    await server.stop();
  }
  return all;
}

export async function fleet({ pages, quick, failed }) {
  const count = quick ? 10 : 50, results = {};
  for (const [name, options, most] of [['from the pool', ['--pool', '1'], 150], ['from a frozen pool', ['--pool', '1', '--pool-frozen'], 150], ['cold', [], 900]]) {
    try {
      results[name] = await rounds(pages, count, options);
      const of = (what) => median(results[name].map((one) => one[what]));
      note('fleet', `create → ready, ${name}`, `${fixed(of('ready'))} ms`);
      note('fleet', `create → CDP answers and a local page is painted, ${name}, p50 of ${count}`, `${fixed(of('all'))} ms`, `≤ ${most} ms`, of('all') <= most);
    } catch (error) {
      failed(`fleet, ${name}`, error);
    }
  }
  for (const [name, measure] of [['the cost of the server', hop], ['many sessions', many]]) {
    try {
      results[name] = await measure(pages, quick);
    } catch (error) {
      failed(`fleet, ${name}`, error);
    }
  }
  return results;
}
