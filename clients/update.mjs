// Takes the two OpenAPI documents from a server and a session of it into clients/openapi, and makes the types of the clients anew.
// Needs the program: cargo build, or GLASSHOUSE_BIN.

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Fleet } from '../tests/e2e/lib/serve.mjs';

const HERE = import.meta.dirname;
const fleet = await Fleet.start();
try {
  const { id } = await fleet.create();
  for (const [name, path] of [['fleet', 'openapi.json'], ['session', `s/${id}/v1/openapi.json`]]) {
    const { status, body } = await fleet.api('GET', path);
    if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`);
    writeFileSync(join(HERE, 'openapi', `${name}.json`), `${JSON.stringify(body, null, 1)}\n`);
  }
} finally {
  await fleet.stop();
}
process.exit(spawnSync(process.execPath, [join(HERE, 'generate.mjs')], { stdio: 'inherit' }).status ?? 1);
