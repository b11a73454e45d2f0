// What a session's start, its walls, freezing it and its way out cost.

import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Glasshouse, ROOT } from '../lib/glasshouse.mjs';
import { sleep, until } from '../lib/process.mjs';
import { fixed, median, note } from '../lib/table.mjs';

const run = promisify(execFile);
const example = (name) => join(ROOT, 'target', 'release', 'examples', name);

export async function start({ pages, quick, failed }) {
  const results = {};
  for (const [name, part] of Object.entries({ starts, freezing, walls, gate })) {
    try {
      results[name] = await part(pages, quick);
    } catch (error) {
      failed(name, error);
    }
  }
  return results;
}

/** What says when the X server answered. */
const LOG = { RUST_LOG: 'error,glasshouse_desktop::supervisor=debug,str0m=off', NO_COLOR: '1' };
const DISPLAY = /^(\S+)\s.*name="x-server" state=Running/m;

/** Milliseconds from the spawn to the X server's answer, the session's line, an answer of CDP and the first paint of its page. */
async function once(pages, flags) {
  const session = new Glasshouse();
  const from = performance.now(), since = () => performance.now() - from;
  const paint = pages.nextPaint().then(since);
  try {
    await session.start(pages.url('first'), flags, LOG);
    const ready = session.readyAt - from;
    const display = Date.parse(DISPLAY.exec(readFileSync(session.child.log, 'utf8'))?.[1]) - performance.timeOrigin - from;
    const devtools = session.cdp ? until('CDP', () => session.devtools().catch(() => false), { every: 10 }).then(since) : null;
    const [painted, answered] = await Promise.all([paint, devtools]);
    return { display, ready, painted, answered };
  } finally {
    await session.stop();
  }
}

async function starts(pages, quick) {
  const rounds = { walls: [], none: [] };
  for (let round = 0; round < (quick ? 5 : 15); round++) {
    rounds.walls.push(await once(pages, []));
    rounds.none.push(await once(pages, ['--isolation=none']));
  }
  const of = (kind, what) => median(rounds[kind].map((one) => one[what]));
  const ms = (value) => `${fixed(value)} ms`;
  note('start', 'cold start → X server answers', ms(of('walls', 'display')), 'p50 ≤ 60 ms', of('walls', 'display') <= 60);
  note('start', 'cold start → session ready: desktop up, room open', ms(of('walls', 'ready')));
  note('start', 'cold start → CDP answers', ms(of('walls', 'answered')), 'p50 ≤ 450 ms', of('walls', 'answered') <= 450);
  note('start', 'cold start → first paint of its page', ms(of('walls', 'painted')), 'p50 ≤ 750 ms', of('walls', 'painted') <= 750);
  const extra = of('walls', 'ready') - of('none', 'ready');
  note('start', 'the walls\' share of it: ready with walls less ready without, in turns', ms(extra), '≤ 25 ms', extra <= 25);
  return rounds;
}

async function freezing(pages, quick) {
  const session = new Glasshouse();
  try {
    await session.start(pages.url('first'));
    await until('CDP', () => session.devtools().catch(() => false));
    await sleep(2000);
    const rounds = [];
    for (let round = 0; round < (quick ? 5 : 20); round++) {
      const from = performance.now();
      await session.call('POST', '/api/glasshouse/freeze');
      const frozen = performance.now();
      await sleep(200);
      const thawing = performance.now();
      // A call that needs the desktop wakes it.
      await until('CDP', () => session.devtools(), { every: 1 });
      rounds.push({ freeze: frozen - from, thaw: performance.now() - thawing });
      await sleep(200);
    }
    const of = (what) => median(rounds.map((one) => one[what]));
    note('freeze', 'a request to freeze a session, paged out where there is swap', `${fixed(of('freeze'))} ms`);
    note('freeze', 'a frozen session → CDP answers', `${fixed(of('thaw'))} ms`, 'p50 ≤ 20 ms', of('thaw') <= 20);
    return rounds;
  } finally {
    await session.stop();
  }
}

/** What the crates' own benchmarks print, a line each. */
async function printed(part, name, limit) {
  const program = example(name);
  if (!existsSync(program)) throw new Error(`${program} not found: build it with cargo build --release --workspace --examples`);
  const { stdout } = await run('setpriv', ['--pdeathsig=KILL', program], { timeout: limit });
  for (const line of stdout.trim().split('\n')) note(part, name, line.trim());
  return stdout;
}

const walls = () => printed('walls', 'walls_bench', 300000);
const gate = () => printed('gate', 'gate_bench', 300000);
