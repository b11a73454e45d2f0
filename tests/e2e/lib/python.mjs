// Python programs of tests, with the packages that `cargo xtask test` installs and our own client.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ROOT } from './session.mjs';

const environment = (name) => process.env[`GLASSHOUSE_PYTHON_${name.toUpperCase().replace('-', '_')}`] ?? join(ROOT, 'target/tools', name, 'bin/python');

/** Longest run in milliseconds, which only bounds a failure. */
const LIMIT = 200_000;

/** Runs a command to its end and returns its code and output; ended with us, and after a while. */
export async function runProgram(command, { env = {}, cwd = ROOT } = {}) {
  const child = spawn('setpriv', ['--pdeathsig=KILL', '--', ...command], { cwd, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  let out = '', err = '';
  child.stdout.on('data', (bytes) => { out += bytes; });
  child.stderr.on('data', (bytes) => { err += bytes; });
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT);
  const code = await new Promise((resolve, reject) => { child.on('error', reject); child.on('close', (code, signal) => resolve(code ?? signal)); });
  clearTimeout(timer);
  return { code, out, err };
}

/** The same for a Python program, in one of the environments `clients` and `browser-use`. */
export function runPython(name, line, { env = {}, ...settings } = {}) {
  const python = environment(name);
  if (!existsSync(python)) throw new Error(`there is no ${python}: cargo xtask test installs it`);
  const path = [join(ROOT, 'clients/python/src'), process.env.PYTHONPATH].filter(Boolean).join(delimiter);
  return runProgram([python, ...line], { env: { PYTHONPATH: path, PYTHONDONTWRITEBYTECODE: '1', PYTHONUNBUFFERED: '1', ...env }, ...settings });
}
