// The pages that are shown in sessions, and what they report.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { exposed } from './session.mjs';

const PAGES = join(import.meta.dirname, '..', 'pages');

/**
 * Serves pages/ on a free port of loopback; `reports` holds what the pages have posted to /report, in order.
 * `NAME?late=MS` answers that much later.
 */
export async function servePages() {
  const reports = [];
  const server = createServer(async (request, response) => {
    const { pathname: path, searchParams } = new URL(request.url, 'http://x');
    if (searchParams.has('late')) await pause(Number(searchParams.get('late')));
    if (request.method === 'POST' && path === '/report') {
      let text = '';
      for await (const chunk of request) text += chunk;
      reports.push(JSON.parse(text));
      response.writeHead(204).end();
    } else if (/^\/[a-z]+\.html$/.test(path)) {
      try {
        response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(readFileSync(join(PAGES, path)));
      } catch {
        response.writeHead(404).end();
      }
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  exposed.add(port);
  return {
    reports,
    url: (name) => `http://127.0.0.1:${port}/${name}`,
    stop: () => { exposed.delete(port); server.closeAllConnections(); return new Promise((resolve) => server.close(resolve)); },
  };
}
