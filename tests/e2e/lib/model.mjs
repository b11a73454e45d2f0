// A model that answers by a script, over OpenAI's chat API: `script` is a list of functions of the request's body, each of which
// returns the message of one answer. What it was asked is in `requests`; an error of a function is in `errors`, and the answer a 400.

import { createServer } from 'node:http';
import { inflateSync } from 'node:zlib';

export async function serveModel(script) {
  const requests = [], errors = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const piece of request) text += piece;
    const send = (status, value) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (request.method !== 'POST' || !request.url.endsWith('/chat/completions')) return send(404, { error: { message: `nothing at ${request.url}` } });
    try {
      const body = JSON.parse(text);
      const step = script[Math.min(requests.length, script.length - 1)];
      requests.push(body);
      const message = { role: 'assistant', content: null, ...await step(body) };
      const reason = message.tool_calls ? 'tool_calls' : 'stop';
      send(200, {
        id: `chatcmpl-${requests.length}`, object: 'chat.completion', created: 1, model: body.model,
        choices: [{ index: 0, message, finish_reason: reason, logprobs: null }],
        usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
      });
    } catch (error) {
      errors.push(error);
      send(400, { error: { message: error.message } });
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    requests, errors, url: `http://127.0.0.1:${server.address().port}/v1`,
    stop: () => { server.closeAllConnections(); return new Promise((resolve) => server.close(resolve)); },
  };
}

/** Size and pixels (RGB) of a PNG of 8 bits a channel. */
export function decodePng(bytes) {
  const [width, height, channels] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20), { 2: 3, 6: 4 }[bytes[25]]];
  if (bytes.toString('latin1', 1, 4) !== 'PNG' || bytes[24] !== 8 || !channels) throw new Error('no PNG of 8-bit RGB');
  const parts = [];
  for (let at = 8; at < bytes.length; at += 12 + bytes.readUInt32BE(at)) {
    if (bytes.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(bytes.subarray(at + 8, at + 8 + bytes.readUInt32BE(at)));
  }
  const raw = inflateSync(Buffer.concat(parts)), row = width * channels, pixels = Buffer.alloc(row * height);
  for (let y = 0; y < height; y += 1) {
    const filter = raw[y * (row + 1)];
    for (let x = 0; x < row; x += 1) {
      const a = x < channels ? 0 : pixels[y * row + x - channels], b = y === 0 ? 0 : pixels[(y - 1) * row + x];
      const c = x < channels || y === 0 ? 0 : pixels[(y - 1) * row + x - channels];
      const near = [a, b, c].reduce((best, one) => (Math.abs(a + b - c - one) < Math.abs(a + b - c - best) ? one : best), a);
      pixels[y * row + x] = raw[y * (row + 1) + 1 + x] + [0, a, b, (a + b) >> 1, near][filter];
    }
  }
  return { width, height, at: (x, y) => pixels.subarray(y * row + x * channels, y * row + x * channels + 3).toString('hex') };
}

/** The middle of all pixels of a colour, or null when there are none. */
export function findColour(picture, colour) {
  let count = 0, sumX = 0, sumY = 0;
  for (let y = 0; y < picture.height; y += 1) {
    for (let x = 0; x < picture.width; x += 1) {
      if (picture.at(x, y) === colour) { count += 1; sumX += x; sumY += y; }
    }
  }
  return count ? { x: Math.round(sumX / count), y: Math.round(sumY / count) } : null;
}
