// Serves bench/pages on loopback, so that a browser of any user can read them.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';

const FOLDER = join(import.meta.dirname, '..', 'pages');
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8' };

/** Starts the server; `url(name)` is the address of a page. */
export async function servePages() {
  let painted = () => {};
  const server = createServer(async (request, response) => {
    if (request.url === '/painted') {
      response.writeHead(204).end();
      painted();
      return;
    }
    const name = basename(new URL(request.url, 'http://x').pathname);
    try {
      const body = await readFile(join(FOLDER, name));
      response.writeHead(200, { 'content-type': TYPES[extname(name)] ?? 'application/octet-stream', 'cache-control': 'no-store' }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address();
  return {
    /** Settles when a page next says that it was painted; only `first` does. */
    nextPaint: () => new Promise((resolve) => { painted = resolve; }),
    url: (name) => `http://127.0.0.1:${port}/${name}.html`,
    stop: () => { server.closeAllConnections(); server.close(); },
  };
}
