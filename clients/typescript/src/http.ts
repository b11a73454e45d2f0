// Requests: the token, errors, and trying again when the server says when.

import { GlasshouseError, ProblemError } from './errors.js';

/** Where the server is, and who asks. */
export interface ClientOptions {
  /** Address of the server; `GLASSHOUSE_SERVER`, or `http://127.0.0.1:8080`, if not said. */
  server?: string | undefined;
  /** A token of the server; `GLASSHOUSE_TOKEN`, if not said. */
  token?: string | undefined;
  /** For how many seconds a 429 or 503 that says `Retry-After` is tried again; 60, if not said. */
  patience?: number | undefined;
}

/** What to ask. */
export interface Ask {
  query?: Record<string, string | number | boolean | readonly string[] | null | undefined>;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is. */
  body?: Uint8Array | ReadableStream<Uint8Array>;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** Instead of the client's. */
  token?: string | null;
  patience?: number | undefined;
}

const sleep = (seconds: number, signal?: AbortSignal): Promise<void> => new Promise((resolve, reject) => {
  signal?.throwIfAborted();
  const over = (): void => { clearTimeout(timer); reject(signal?.reason); };
  const timer = setTimeout(() => { signal?.removeEventListener('abort', over); resolve(); }, seconds * 1_000);
  signal?.addEventListener('abort', over, { once: true });
});

/** One server. */
export class Http {
  readonly server: string;
  readonly token: string;
  readonly #patience: number;

  constructor(options: ClientOptions = {}) {
    this.server = (options.server ?? process.env.GLASSHOUSE_SERVER ?? 'http://127.0.0.1:8080').replace(/\/+$/, '');
    const token = options.token ?? process.env.GLASSHOUSE_TOKEN;
    if (!token) throw new GlasshouseError('no token: give one, or set GLASSHOUSE_TOKEN');
    this.token = token;
    this.#patience = options.patience ?? 60;
  }

  /** Asks; an answer that is none of success is a `ProblemError`. The path is below the server's address. */
  async ask(method: string, path: string, ask: Ask = {}): Promise<Response> {
    const url = new URL(`${this.server}/${path}`);
    for (const [name, value] of Object.entries(ask.query ?? {})) {
      for (const one of Array.isArray(value) ? value : [value]) {
        if (one !== undefined && one !== null) url.searchParams.append(name, String(one));
      }
    }
    const headers = new Headers(ask.headers);
    const token = ask.token === undefined ? this.token : ask.token;
    if (token !== null) headers.set('authorization', `Bearer ${token}`);
    if (ask.json !== undefined) headers.set('content-type', 'application/json');
    const body = ask.json === undefined ? ask.body : JSON.stringify(ask.json);
    // `duplex` is not in lib.dom: without it no stream can be sent.
    const init = { method, headers, ...(body === undefined ? {} : { body, duplex: 'half' }), ...(ask.signal ? { signal: ask.signal } : {}) };
    const until = Date.now() + (ask.patience ?? this.#patience) * 1_000;
    for (;;) {
      const response = await fetch(url, init as RequestInit);
      if (response.ok) return response;
      const problem = await refusal(`${method} /${path}`, response);
      const wait = problem.retryAfter;
      const isLimit = problem.status === 429 || problem.status === 503;
      // A stream is gone once it was sent.
      if (!isLimit || wait === undefined || body instanceof ReadableStream || Date.now() + wait * 1_000 > until) throw problem;
      await sleep(wait, ask.signal);
    }
  }

  async json<T>(method: string, path: string, ask?: Ask): Promise<T> {
    return await (await this.ask(method, path, ask)).json() as T;
  }

  async bytes(method: string, path: string, ask?: Ask): Promise<Uint8Array> {
    return new Uint8Array(await (await this.ask(method, path, ask)).arrayBuffer());
  }

  /** Does it again while the server says that it is not the time yet (409), for as long as patience lasts. */
  async whenReady<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const until = Date.now() + this.#patience * 1_000;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof ProblemError) || error.status !== 409 || Date.now() > until) throw error;
        await sleep(0.1, signal);
      }
    }
  }
}

async function refusal(request: string, response: Response): Promise<ProblemError> {
  const text = await response.text();
  let body: Record<string, unknown> = {};
  try { body = JSON.parse(text) as Record<string, unknown>; } catch { body = { detail: text.trim().slice(0, 500) || undefined }; }
  const wait = Number(response.headers.get('retry-after') ?? Number.NaN);
  return new ProblemError(request, response.status, body, Number.isFinite(wait) ? wait : undefined);
}

/** One server-sent event (HTML standard, 9.2). */
export interface ServerEvent {
  id: string | undefined;
  event: string;
  data: string;
}

/** Events of an answer, as they come. */
export async function* serverEvents(response: Response): AsyncGenerator<ServerEvent> {
  let rest = '', id: string | undefined, event = '', data: string[] = [];
  if (!response.body) return;
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === '') {
        if (data.length) yield { id, event: event || 'message', data: data.join('\n') };
        event = '';
        data = [];
        continue;
      }
      const colon = line.indexOf(':');
      const [field, value] = colon < 0 ? [line, ''] : [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')];
      if (field === 'data') data.push(value);
      else if (field === 'event') event = value;
      else if (field === 'id') id = value;
    }
  }
}
