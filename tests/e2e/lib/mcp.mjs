// The official client of the Model Context Protocol, over HTTP and over the command line.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { PROGRAM } from './session.mjs';
import { PATIENCE } from './wait.mjs';

/** What tests need of a client. */
function wrapped(client, transport) {
  return {
    client, transport,
    tools: async () => (await client.listTools(undefined, { timeout: PATIENCE })).tools,
    /** Calls a tool; its text, its picture (JPEG), and whether it failed. */
    call: async (name, args = {}, options = {}) => {
      const result = await client.callTool({ name, arguments: args }, undefined, { timeout: PATIENCE, ...options });
      const texts = result.content.filter(({ type }) => type === 'text').map(({ text }) => text);
      const picture = result.content.find(({ type }) => type === 'image');
      return { text: texts.join('\n'), failed: result.isError === true, picture: picture && Buffer.from(picture.data, 'base64'), kind: picture?.mimeType };
    },
    close: async () => {
      await transport.terminateSession?.().catch(() => {});
      await client.close().catch(() => {});
    },
  };
}

/** Connects to `base`mcp with a token. */
export async function overHttp(base, token, { headers = {} } = {}) {
  const transport = new StreamableHTTPClientTransport(new URL('mcp', base), {
    requestInit: { headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers } },
  });
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(transport, { timeout: PATIENCE });
  return wrapped(client, transport);
}

/** Connects through `glasshouse mcp`. */
export async function overStdio(options, env = {}) {
  const transport = new StdioClientTransport({
    command: 'setpriv', args: ['--pdeathsig=KILL', '--', PROGRAM, 'mcp', ...options], env: { ...process.env, ...env }, stderr: 'pipe',
  });
  let err = '';
  transport.stderr?.on('data', (bytes) => { err += bytes; });
  const client = new Client({ name: 'test', version: '1' });
  try {
    await client.connect(transport, { timeout: PATIENCE });
  } catch (error) {
    await client.close().catch(() => {});
    throw new Error(`${error.message}: ${err}`);
  }
  return wrapped(client, transport);
}

/** Size of a JPEG (ITU-T T.81, B.2.2). */
export function jpegSize(bytes) {
  for (let at = 2; at < bytes.length;) {
    const marker = bytes[at + 1];
    if (marker >= 0xc0 && marker <= 0xc2) return [bytes.readUInt16BE(at + 7), bytes.readUInt16BE(at + 5)];
    at += 2 + bytes.readUInt16BE(at + 2);
  }
  throw new Error('no JPEG');
}
