// The benchmark behind `cargo xtask bench`: prints the promises of SPECIFICATION.md and where we stand; see README.md here.
//
//   node bench/run.mjs [--quick] [--only part,part]      parts: start, cpu, quality, latency, fanout, fleet, programs
//
// Writes bench/out/PART.json and bench/out/table.txt. Numbers never make it fail; it exits with 1 when something could not be measured.

import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { servePages } from './lib/pages.mjs';
import { noted, table } from './lib/table.mjs';
import { cpu } from './parts/cpu.mjs';
import { fanout } from './parts/fanout.mjs';
import { fleet } from './parts/fleet.mjs';
import { latency } from './parts/latency.mjs';
import { programs } from './parts/programs.mjs';
import { quality } from './parts/quality.mjs';
import { start } from './parts/start.mjs';

const PARTS = { start, cpu, quality, latency, fanout, fleet, programs };

const { values } = parseArgs({ options: { quick: { type: 'boolean' }, only: { type: 'string' } } });
const chosen = values.only?.split(',') ?? Object.keys(PARTS);
const unknown = chosen.filter((name) => !PARTS[name]);
if (unknown.length) {
  console.error(`error: unknown part ${unknown.join(', ')}: choose from ${Object.keys(PARTS).join(', ')}`);
  process.exit(2);
}

const out = join(import.meta.dirname, 'out');
mkdirSync(out, { recursive: true });
const failures = [];
const failed = (what, error) => {
  failures.push(what);
  console.error(`  ! ${what} could not be measured: ${reason(error)}`);
};
/** The line of an error that says why: the last one that is not of a stack trace. */
const reason = (error) => error.message.split('\n').filter((line) => line.trim() && !/^\s+at /.test(line)).at(-1) ?? String(error);
const pages = await servePages();
const machine = { cpu: cpus()[0]?.model, cores: cpus().length, load_before: loadavg()[0], started: new Date().toISOString() };

for (const name of chosen) {
  console.log(`\n${name}`);
  const first = noted().length;
  let result = null;
  try {
    result = await PARTS[name]({ pages, quick: values.quick ?? false, failed });
  } catch (error) {
    failed(name, error);
  }
  writeFileSync(join(out, `${name}.json`), JSON.stringify({ machine, quick: values.quick ?? false, rows: noted().slice(first), result }, null, 1));
}
pages.stop();

const text = `${machine.cores} cores (${machine.cpu}), load ${machine.load_before.toFixed(1)} before the start\n\n${table()}\n`;
console.log(`\n${text}`);
if (failures.length) console.log(`could not be measured: ${failures.join('; ')}`);
writeFileSync(join(out, 'table.txt'), text);
process.exit(failures.length ? 1 : 0);
