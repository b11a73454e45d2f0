import type { FleetSession } from '@glasshouse/client';

export const BASE = new URL('http://fleet.test/desk/');
export const TOKEN = `gh_${'a'.repeat(52)}`;

export const session = (index: number, change: Partial<FleetSession> = {}): FleetSession => ({
  id: `${'abcdefghijklmnopqrstuvwxyz'.slice(0, 21)}${String(index).padStart(5, '2').replaceAll(/[0189]/g, (digit) => 'wxyz'['0189'.indexOf(digit)] ?? '')}`,
  name: `session-${index}`,
  state: 'ready',
  reason: null,
  url: `https://example.com/${index}`,
  app: 'chromium',
  screen: { width: 1280, height: 720 },
  labels: {},
  path: `/desk/s/${index}/`,
  connections: 0,
  created_at: new Date(Date.UTC(2026, 0, 1, 0, 0, 0, index)).toISOString(),
  ready_at: null,
  used_at: null,
  expires_at: null,
  ended_at: null,
  ...change,
});

interface Asked {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: unknown;
}

type Answer = { status?: number; json?: unknown; body?: BodyInit; headers?: Record<string, string> };

/** A server of `/api/v1` in place of `fetch`, which keeps what it was asked. */
export class FakeFleet {
  readonly asked: Asked[] = [];
  sessions: FleetSession[] = [];
  token = TOKEN;
  /** Answers of a test's own, by method and path. */
  readonly answers = new Map<string, (asked: Asked) => Answer>();
  #events: ReadableStreamDefaultController<Uint8Array> | null = null;
  #seq = 0;

  install(): void {
    globalThis.fetch = (input, init = {}) => this.#fetch(new URL(String(input)), init);
  }

  count(method: string, end: string): number {
    return this.asked.filter((one) => one.method === method && one.path.endsWith(end)).length;
  }

  /** Tells listeners of a session's state. */
  tell(session: FleetSession): void {
    this.sessions = [...this.sessions.filter(({ id }) => id !== session.id), session];
    const { id, state, reason } = session;
    const data = JSON.stringify({ seq: ++this.#seq, at: '', session: id, state, reason });
    this.#events?.enqueue(new TextEncoder().encode(`id: ${this.#seq}\nevent: session\ndata: ${data}\n\n`));
  }

  /** Breaks the stream of events. */
  drop(): void {
    this.#events?.close();
    this.#events = null;
  }

  async #fetch(url: URL, init: RequestInit): Promise<Response> {
    const path = url.pathname.replace(BASE.pathname, '') + url.search;
    const method = init.method ?? 'GET';
    const asked: Asked = { method, path, headers: init.headers as Record<string, string>, body: init.body ? JSON.parse(String(init.body)) : undefined };
    this.asked.push(asked);
    if (url.href.includes(this.token)) throw new Error('a token in an address');
    const answer = this.answers.get(`${method} ${path}`)?.(asked) ?? this.#answer(asked, url);
    const status = answer.status ?? 200;
    const headers = new Headers({ 'content-type': 'application/json', ...answer.headers });
    const body = answer.body ?? (answer.json === undefined ? null : JSON.stringify(answer.json));
    return new Response(body, { status, headers });
  }

  #answer({ method, path, headers }: Asked, url: URL): Answer {
    if (path === 'openapi.json') return { json: {} };
    if (headers?.['Authorization'] !== `Bearer ${this.token}`) return { status: 401, json: { detail: 'a token is needed' } };
    if (path === 'api/v1/events') {
      const stream = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#events = controller) });
      return { body: stream };
    }
    if (method === 'GET' && path.startsWith('api/v1/sessions?')) {
      const states = url.searchParams.get('state')?.split(',') ?? [];
      const limit = Number(url.searchParams.get('limit'));
      const found = this.sessions.filter(({ state }) => states.includes(state)).sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
      const from = Number(url.searchParams.get('cursor') ?? 0);
      return { json: { sessions: found.slice(from, from + limit), next: from + limit < found.length ? String(from + limit) : null } };
    }
    const [, id, action] = /^api\/v1\/sessions\/([^/]+)(?:\/(.*))?$/.exec(path) ?? [];
    const found = this.sessions.find((one) => one.id === id);
    if (!found) return { status: 404, json: { detail: 'there is no such session' } };
    if (action === 'thumbnail') {
      const tag = `"${found.name}"`;
      return headers['If-None-Match'] === tag ? { status: 304, headers: { etag: tag } } : { body: 'picture', headers: { etag: tag, 'content-type': 'image/jpeg' } };
    }
    if (action === 'usage') return { json: { cpu_seconds: 1, memory_bytes: 250_000_000, sent_bytes: 0, viewers: found.connections } };
    if (action === 'share') return { json: { shares: [] } };
    if (action === 'freeze') return { json: { ...found, state: 'frozen' } };
    if (action === 'thaw') return { json: { ...found, state: 'ready' } };
    if (method === 'DELETE') return { json: { ...found, state: 'terminated', reason: 'deleted' } };
    return { json: found };
  }
}

/** Elements that the test says are in view. */
export class Views {
  readonly #all = new Set<{ element: Element; call: IntersectionObserverCallback; observer: IntersectionObserver }>();

  install(): void {
    const all = this.#all;
    globalThis.IntersectionObserver = class {
      readonly #mine = new Set<{ element: Element; call: IntersectionObserverCallback; observer: IntersectionObserver }>();
      constructor(readonly call: IntersectionObserverCallback) {}
      observe(element: Element): void {
        const one = { element, call: this.call, observer: this as unknown as IntersectionObserver };
        this.#mine.add(one);
        all.add(one);
      }
      disconnect(): void {
        for (const one of this.#mine) all.delete(one);
      }
      unobserve(): void {}
      takeRecords(): [] {
        return [];
      }
    } as unknown as typeof IntersectionObserver;
  }

  set(element: Element, isIntersecting: boolean): void {
    for (const one of this.#all) if (one.element === element) one.call([{ isIntersecting } as IntersectionObserverEntry], one.observer);
  }
}
