// Runs code with `page`, `context` and `browser`; its last line of output is the answer.
const { createRequire } = require('node:module');
const { join } = require('node:path');

const places = [process.cwd(), process.env.HOME, '/usr/lib/node_modules', '/usr/local/lib/node_modules', '/usr/share/nodejs']
  .concat((process.env.NODE_PATH ?? '').split(':')).filter(Boolean);
const find = (name) => {
  for (const place of places) {
    for (const from of [join(place, '-'), join(place, '..', '-')]) {
      try { return createRequire(from)(name); } catch { /* elsewhere */ }
    }
  }
  return null;
};
// What code prints is no answer.
for (const name of ['log', 'info', 'debug', 'warn', 'error']) console[name] = (...words) => process.stderr.write(`${words.join(' ')}\n`);
const tell = (answer) => process.stdout.write(`\n${JSON.stringify(answer)}\n`, () => process.exit(0));
const lack = (text) => process.stderr.write(text, () => process.exit(3));

// The code as JavaScript: types are taken out by whatever can.
const plain = (code) => {
  const source = `(async (page, context, browser) => {\n${code}\n})`;
  const esbuild = find('esbuild');
  if (esbuild) return esbuild.transformSync(source, { loader: 'ts' }).code;
  const strip = require('node:module').stripTypeScriptTypes;
  return strip ? strip(source, { mode: 'strip' }) : source;
};

(async () => {
  let input = '';
  for await (const part of process.stdin) input += part;
  const { code, endpoint, timeout } = JSON.parse(input);
  const engine = find('patchright') ?? find('playwright-core') ?? find('playwright');
  if (!engine) return lack('there is no playwright-core in this session: put it into /home/user/node_modules, or install it for the machine (npm install -g playwright-core)');
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Execution timed out after ${timeout}ms`)), timeout);
  });
  try {
    const run = async () => {
      const browser = await engine.chromium.connectOverCDP(endpoint);
      const context = browser.contexts()[0] ?? await browser.newContext();
      const page = context.pages()[0] ?? await context.newPage();
      return (0, eval)(plain(code))(page, context, browser);
    };
    const result = await Promise.race([run(), late]);
    tell({ success: true, result: result === undefined ? null : JSON.parse(JSON.stringify(result) ?? 'null') });
  } catch (error) {
    tell({ success: false, error: String(error?.message ?? error), stderr: String(error?.stack ?? '') });
  } finally {
    clearTimeout(timer);
  }
})();
