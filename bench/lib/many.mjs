// Many sessions at once, each on a busy page: whether all live and the API answers; and then idle: whether they are frozen and cost
// nothing. And what the server itself takes.

import { readFileSync, readdirSync } from 'node:fs';
import { quantile } from './photon.mjs';
import { residentMiB, sleep, until } from './process.mjs';
import { Server } from './server.mjs';
import { fixed, median, note } from './table.mjs';

/** Sessions that are created at a time. */
const AT_ONCE = 3;
/** How long an idle session is let be until it is frozen, in seconds. */
const FREEZE = 5;

/** Processes below one, with their clock ticks. */
function below(pid) {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map((name) => {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1'), fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return { pid: Number(name), parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) };
    } catch {
      return null; // ended meanwhile
    }
  }).filter(Boolean);
  const found = all.filter(({ parent }) => parent === pid);
  for (const one of found) found.push(...all.filter(({ parent }) => parent === one.pid));
  return found;
}

export async function many(pages, quick) {
  const count = quick ? 4 : 30, seconds = quick ? 5 : 30, server = new Server(), ids = [];
  await server.start(new URL(pages.url('motion')).port, ['--max-sessions', `${count}`, '--idle-freeze', '0']);
  try {
    const url = pages.url('motion');
    const creator = async () => {
      while (ids.length < count) {
        const at = ids.push(null) - 1;
        const { id, state } = await server.call('POST', 'api/v1/sessions?wait=60', { url, sound: false });
        if (state !== 'ready') await until(`session ${at}`, async () => (await server.call('GET', `api/v1/sessions/${id}?wait=60`)).state === 'ready', { timeout: 120_000 });
        ids[at] = id;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, creator));

    const took = [], end = performance.now() + seconds * 1_000;
    for (let turn = 0; performance.now() < end; turn += 1) {
      const id = ids[turn % count];
      const asked = [['GET', 'api/v1/sessions?limit=200'], ['GET', `api/v1/sessions/${id}`], ['PATCH', `api/v1/sessions/${id}`, { labels: { turn: `${turn}` } }]];
      for (const [method, path, body] of asked) {
        const from = performance.now();
        await server.call(method, path, body);
        took.push(performance.now() - from);
      }
      await sleep(20);
    }
    const { sessions } = await server.call('GET', 'api/v1/sessions?limit=200&state=ready');
    note('fleet', `${count} sessions on a busy page that live`, `${sessions.length}`, `${count}`, sessions.length === count);
    note('fleet', `the API meanwhile, p50 of ${took.length}`, `${fixed(median(took))} ms`);
    note('fleet', 'the same, p99', `${fixed(quantile(took, 0.99))} ms`, '≤ 100 ms', quantile(took, 0.99) <= 100);
    const memory = residentMiB(server.pid);
    note('fleet', `own memory of the server with ${count} sessions`, `${fixed(memory)} MiB`, '≤ 60 MB', memory * 1.048576 <= 60);

    for (const id of ids) await server.call('PATCH', `api/v1/sessions/${id}`, { idle_freeze_seconds: FREEZE });
    await until('all are frozen', async () => (await server.call('GET', 'api/v1/sessions?limit=200&state=frozen')).sessions.length === count, { timeout: 60_000, every: 500 });
    const ticks = () => ids.map((id) => below(server.processOf(id)).reduce((sum, one) => sum + one.ticks, 0));
    const before = ticks();
    await sleep(5_000);
    const after = ticks(), spent = after.reduce((sum, now, at) => sum + now - before[at], 0);
    note('fleet', `processor time of the programs of ${count} idle sessions in 5 s`, `${spent} ticks`, '0', spent === 0);
    return { count, api: { p50: median(took), p99: quantile(took, 0.99) }, memory, frozen_ticks: spent };
  } finally {
    await server.stop();
  }
}
