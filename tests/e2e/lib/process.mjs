// Processes, read from /proc: whose child, how many descriptors, whether gone.

import { readFileSync, readdirSync } from 'node:fs';

function stat(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { pid, name: text.slice(text.indexOf('(') + 1, text.lastIndexOf(')')), state: fields[0], parent: Number(fields[1]), started: fields[19] };
  } catch {
    return null; // ended meanwhile
  }
}

/** All processes below `pid`, itself first. */
export function tree(pid) {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map((name) => stat(Number(name))).filter(Boolean);
  const found = all.filter((one) => one.pid === pid);
  for (const one of found) found.push(...all.filter((other) => other.parent === one.pid));
  return found;
}

/** Whether this very process still runs; a number used again does not count. */
export function isAlive(process) {
  const now = stat(process.pid);
  return now !== null && now.started === process.started && now.state !== 'Z';
}

/** Descriptors, threads and resident memory (kB) of a process. */
export function usage(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)[1]);
  return { descriptors: readdirSync(`/proc/${pid}/fd`).length, threads: field('Threads'), resident: field('VmRSS') };
}
