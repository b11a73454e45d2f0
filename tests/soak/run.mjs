// The program behind `cargo xtask soak`:
//
//   node tests/soak/run.mjs [--sessions 2000] [--seed N] [--at-once 4]
//
// Prints what it does, a report as JSON at its end, and ends with 1 when something was not as it has to be.

import { parseArgs } from 'node:util';
import { lacking } from './place.mjs';
import { Soak } from './soak.mjs';

const { values } = parseArgs({ options: { sessions: { type: 'string', default: '2000' }, seed: { type: 'string' }, 'at-once': { type: 'string', default: '4' } } });
const number = (name, least) => {
  const value = Number(values[name] ?? Date.now() % 1e6);
  if (Number.isInteger(value) && value >= least) return value;
  console.error(`error: --${name} takes a whole number from ${least}, and not ${values[name]}`);
  process.exit(2);
};
if (lacking) {
  console.error(`error: a soak ${lacking}`);
  process.exit(2);
}
const soak = new Soak({ sessions: number('sessions', 1), seed: number('seed', 0), atOnce: number('at-once', 1), log: (line) => console.log(`${new Date().toISOString()} ${line}`) });
console.log(`seed ${soak.seed}: the same plan again with --seed ${soak.seed}`);
const report = await soak.run();
console.log(JSON.stringify(report, null, 1));
process.exit(report.failures.length ? 1 : 0);
