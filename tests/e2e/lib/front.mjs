// The other system's front end: its page, and a proxy that passes /api and /ws on, as nginx or Vite does for it.

import { readFileSync } from 'node:fs';
import { createServer, request as ask } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';

const PAGE = join(import.meta.dirname, '..', 'pages', 'front.html');

/** Serves the page on a port of its own; what it asks goes to `front.target` (host:port), under that name. */
export async function serveFront() {
  const front = { target: null };
  const sockets = new Set();
  const headers = (request) => ({ ...request.headers, host: front.target });
  const server = createServer((request, response) => {
    if (!/^\/(api|ws)\//.test(request.url)) {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(readFileSync(PAGE));
      return;
    }
    const [host, port] = front.target.split(':');
    const passed = ask({ host, port, method: request.method, path: request.url, headers: headers(request) }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passed.on('error', () => response.destroy());
    request.pipe(passed);
  });
  server.on('connection', (socket) => { sockets.add(socket); socket.on('close', () => sockets.delete(socket)); });
  server.on('upgrade', (request, client, first) => {
    const [host, port] = front.target.split(':');
    const upstream = connect(Number(port), host, () => {
      const lines = Object.entries(headers(request)).map(([name, value]) => `${name}: ${value}\r\n`).join('');
      upstream.write(`${request.method} ${request.url} HTTP/1.1\r\n${lines}\r\n`);
      upstream.write(first);
      client.pipe(upstream).pipe(client);
    });
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  front.origin = `http://127.0.0.1:${server.address().port}`;
  front.stop = () => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  };
  return front;
}
