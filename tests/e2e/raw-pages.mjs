// Pages for sessions that are given in the test itself, and what they report.

import { createServer } from 'node:http';
import { exposed } from './lib/session.mjs';

/** Serves `pages` (name → HTML) on a free port; `reports` holds what was posted to /report, in order. */
export async function serve(pages, address = '127.0.0.1') {
  const reports = [];
  const server = createServer(async (request, response) => {
    const name = new URL(request.url, 'http://x').pathname.slice(1);
    if (request.method === 'POST' && name === 'report') {
      let text = '';
      for await (const chunk of request) text += chunk;
      reports.push(JSON.parse(text));
      response.writeHead(204).end();
    } else if (Object.hasOwn(pages, name)) {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(`<!doctype html><meta charset="utf-8"><title>${name}</title>
        <script>const say = ((queue) => (what) => { queue = queue.then(() => fetch('/report', { method: 'POST', body: JSON.stringify(what) })); })(Promise.resolve());</script>
        ${pages[name]}`);
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, address, resolve));
  const { port } = server.address();
  exposed.add(port);
  return {
    reports,
    url: (name) => `http://${address}:${port}/${name}`,
    stop: () => { exposed.delete(port); server.closeAllConnections(); return new Promise((resolve) => server.close(resolve)); },
  };
}
