/** The JSON shapes of `/api/v1` (docs/fleet.md, `/openapi.json`), and the calls that the console makes. */

export type FleetState = 'creating' | 'ready' | 'frozen' | 'terminated' | 'failed';
export type Power = 'view' | 'control' | 'cdp' | 'admin';

/** A session of a fleet. Times are RFC 3339. */
export interface FleetSession {
  id: string;
  name: string | null;
  state: FleetState;
  reason: string | null;
  url: string | null;
  app: string;
  screen: { width: number; height: number };
  labels: Record<string, string>;
  /** Path of everything of it, with a slash at the end. */
  path: string;
  connections: number;
  created_at: string;
  ready_at: string | null;
  used_at: string | null;
  expires_at: string | null;
  ended_at: string | null;
}

export interface FleetEvent {
  seq: number;
  at: string;
  session: string;
  state: FleetState;
  reason: string | null;
}

/** What a session uses now; null where nothing counts it. */
export interface Usage {
  cpu_seconds: number | null;
  memory_bytes: number | null;
  sent_bytes: number;
  viewers: number;
}

export interface Share {
  id: string;
  name: string;
  powers: Power[];
  created_at: string;
  expires_at: string | null;
  /** Only in the answer to its creation. */
  url?: string;
}

export interface FieldProblem {
  field: string;
  message: string;
}

/** Somebody who is signed in: with everything if `powers` has `admin`, else with sessions of their own. */
export interface Person {
  name: string;
  powers: Power[];
}

/** How people sign in to a server, and who this browser's cookie stands for. */
export interface Ways {
  password: boolean;
  oidc: boolean;
  user: Person | null;
}

/** A refused request: `status` is the HTTP status, 0 when the server was not reached; `fields` says what of the body was wrong. */
export class FleetError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly fields: readonly FieldProblem[] = [],
  ) {
    super(message);
  }
}

/** Whether a text is a fleet's token, and not a room's. */
export const isFleetToken = (text: string): boolean => text.startsWith('gh_');

const sentence = (text: string): string => (text ? text.charAt(0).toUpperCase() + text.slice(1) : text);

async function refusal(response: Response): Promise<FleetError> {
  const problem = (await response.json().catch(() => ({}))) as { detail?: unknown; errors?: FieldProblem[] };
  const text = typeof problem.detail === 'string' ? problem.detail : response.statusText || `The server answers ${response.status}`;
  return new FleetError(response.status, `${sentence(text)}.`, problem.errors ?? []);
}

/** The calls of a fleet. The token travels in a header only; without one, the browser's cookie says who asks. */
export class Fleet {
  /** @param base address of the console, with a slash at the end */
  constructor(
    readonly base: URL,
    readonly token: string | null,
  ) {}

  async request(method: string, path: string, body?: unknown, options: { headers?: Record<string, string>; signal?: AbortSignal } = {}): Promise<Response> {
    const headers: Record<string, string> = { ...(this.token === null ? {} : { Authorization: `Bearer ${this.token}` }), ...options.headers };
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    let response: Response;
    try {
      response = await fetch(new URL(`api/v1/${path}`, this.base), {
        method,
        headers,
        // The answers are of the moment, and a reused body would hide a 304.
        cache: 'no-store',
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(options.signal ? { signal: options.signal } : {}),
      });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new FleetError(0, 'The server cannot be reached.');
    }
    if (response.ok || response.status === 304) return response;
    throw await refusal(response);
  }

  async #json<T>(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<T> {
    return (await this.request(method, path, body, headers ? { headers } : {})).json() as Promise<T>;
  }

  #of = (id: string, action = ''): string => `sessions/${encodeURIComponent(id)}${action}`;

  /** One page, newest first. */
  list(options: { states?: readonly FleetState[]; cursor?: string | null; limit?: number } = {}): Promise<{ sessions: FleetSession[]; next: string | null }> {
    const query = new URLSearchParams({ limit: String(options.limit ?? 200) });
    if (options.states?.length) query.set('state', options.states.join(','));
    if (options.cursor) query.set('cursor', options.cursor);
    return this.#json('GET', `sessions?${query}`);
  }

  /** All of them, newest first. */
  async all(states?: readonly FleetState[], most = 2000): Promise<FleetSession[]> {
    const found: FleetSession[] = [];
    let cursor: string | null = null;
    do {
      const page = await this.list({ ...(states ? { states } : {}), cursor });
      found.push(...page.sessions);
      cursor = page.next;
    } while (cursor && found.length < most);
    return found;
  }

  /** Makes a session. The same `key` again makes no second one. */
  create = (spec: Record<string, unknown>, key: string): Promise<FleetSession> => this.#json('POST', 'sessions', spec, { 'Idempotency-Key': key });
  read = (id: string): Promise<FleetSession> => this.#json('GET', this.#of(id));
  freeze = (id: string): Promise<FleetSession> => this.#json('POST', this.#of(id, '/freeze'));
  thaw = (id: string): Promise<FleetSession> => this.#json('POST', this.#of(id, '/thaw'));
  end = (id: string): Promise<FleetSession> => this.#json('DELETE', this.#of(id));
  usage = (id: string): Promise<Usage> => this.#json('GET', this.#of(id, '/usage'));
  share = (id: string, share: { powers: Power[]; expires_in_seconds: number; name?: string }): Promise<Share> => this.#json('POST', this.#of(id, '/share'), share);
  shares = async (id: string): Promise<Share[]> => (await this.#json<{ shares: Share[] }>('GET', this.#of(id, '/share'))).shares;
  unshare = (id: string, share: string): Promise<unknown> => this.request('DELETE', this.#of(id, `/share/${encodeURIComponent(share)}`));
  ways = (): Promise<Ways> => this.#json('GET', 'login');
  signIn = (name: string, password: string): Promise<Person> => this.#json('POST', 'login', { name, password });
  signOut = (): Promise<unknown> => this.request('DELETE', 'login');
  /** What to log in to the session's room with, once. */
  join = (id: string): Promise<{ token: string; power: Power }> => this.#json('POST', this.#of(id, '/join'));

  /** A small picture, or null when it is the one that `tag` names, or there is none. */
  async thumbnail(id: string, tag: string | null, signal?: AbortSignal): Promise<{ picture: Blob; tag: string | null } | null> {
    const options = { ...(tag ? { headers: { 'If-None-Match': tag } } : {}), ...(signal ? { signal } : {}) };
    const response = await this.request('GET', this.#of(id, '/thumbnail'), undefined, options);
    return response.status === 200 ? { picture: await response.blob(), tag: response.headers.get('etag') } : null;
  }
}
