// Puts noVNC into dist/novnc: its library as it comes in its npm package, with its licences, and our pages for it.

import { cpSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createRequire } from 'node:module';

const here = import.meta.dirname;
const target = join(here, '..', 'dist', 'novnc');
const library = join(dirname(createRequire(import.meta.url).resolve('@novnc/novnc')), '..');

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
const licences = readdirSync(join(library, 'docs')).filter((name) => name.startsWith('LICENSE')).map((name) => join('docs', name));
for (const name of ['core', 'vendor', 'LICENSE.txt', 'AUTHORS', ...licences]) cpSync(join(library, name), join(target, name), { recursive: true });
for (const [name, from] of [['vnc.html', 'vnc.html'], ['vnc_lite.html', 'vnc.html'], ['app', 'app']]) cpSync(join(here, from), join(target, name), { recursive: true });
