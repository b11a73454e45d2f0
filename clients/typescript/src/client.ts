// A server of sessions.

import { GlasshouseError, SessionError } from './errors.js';
import type { Event, Profile, Sessions, Spec, State, View } from './generated/fleet.js';
import { Http, serverEvents, type ClientOptions } from './http.js';
import { Session } from './session.js';

/** How a session is created. */
export interface CreateOptions {
  /** Seconds to wait until it is ready, 120 if not said; with 0 it is handed back while it is being started. */
  wait?: number | undefined;
  /** Seconds to stand in line on the server when a limit is reached, at most 120. */
  queue?: number | undefined;
  /** The same key makes the same session for a day. Made up, if not said, so that trying again is safe. */
  idempotencyKey?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** Which sessions to list. */
export interface ListOptions {
  states?: readonly State[] | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
  name?: string | undefined;
}

/** A server, with a token. */
export class Glasshouse {
  readonly #http: Http;

  constructor(options: ClientOptions = {}) {
    this.#http = new Http(options);
  }

  /** Creates a session, by default one that is ready. A limit (429) is tried again when the server says, within `patience`. */
  async create(spec: Spec = {}, options: CreateOptions = {}): Promise<Session> {
    const { wait = 120, queue, idempotencyKey = crypto.randomUUID(), signal } = options;
    const until = Date.now() + wait * 1_000;
    const path = 'api/v1/sessions';
    const view = await this.#http.json<View>('POST', path, {
      json: spec, query: { queue }, headers: { 'idempotency-key': idempotencyKey }, signal,
    });
    const session = new Session(this.#http, view);
    if (wait <= 0) return session;
    try {
      while (session.view.state === 'creating' && Date.now() < until) {
        await session.refresh({ wait: Math.max(1, Math.min(60, Math.ceil((until - Date.now()) / 1_000))), signal });
      }
    } catch (error) {
      // Nobody else knows of it.
      await session.delete().catch(() => {});
      throw error;
    }
    const { state, reason, id } = session.view;
    if (state === 'ready' || state === 'frozen') return session;
    await session.delete().catch(() => {});
    throw new SessionError(state === 'creating' ? `session ${id} was not ready within ${wait} s` : `session ${id} ${state}: ${reason ?? 'no reason'}`);
  }

  /** A session by its id. */
  async get(id: string): Promise<Session> {
    return new Session(this.#http, await this.#http.json<View>('GET', `api/v1/sessions/${encodeURIComponent(id)}`));
  }

  /** Sessions, newest first; without states, those that have not ended. */
  async *list(options: ListOptions = {}): AsyncGenerator<Session> {
    const { states, labels = {}, name } = options;
    let cursor: string | undefined;
    do {
      const page: Sessions = await this.#http.json<Sessions>('GET', 'api/v1/sessions', {
        query: { limit: 200, state: states, name, cursor, label: Object.entries(labels).map(([key, value]) => `${key}=${value}`) },
      });
      for (const view of page.sessions) yield new Session(this.#http, view);
      cursor = page.next ?? undefined;
    } while (cursor);
  }

  /** Events of all sessions, or of one, as they happen; goes on where it was when the connection is lost. */
  async *events(options: { session?: string | undefined; after?: string | undefined; signal?: AbortSignal | undefined } = {}): AsyncGenerator<Event> {
    const { session, signal } = options;
    let after = options.after;
    const path = session === undefined ? 'api/v1/events' : `api/v1/sessions/${encodeURIComponent(session)}/events`;
    while (!signal?.aborted) {
      try {
        const headers = after === undefined ? {} : { 'last-event-id': after };
        const response = await this.#http.ask('GET', path, { headers, signal });
        for await (const { id, event, data } of serverEvents(response)) {
          after = id ?? after;
          if (event === 'session') yield JSON.parse(data) as Event;
        }
      } catch (error) {
        if (signal?.aborted) return;
        if (error instanceof GlasshouseError) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  /** Profiles that outlive their sessions. */
  readonly profiles = {
    list: async (): Promise<Profile[]> => (await this.#http.json<{ profiles: Profile[] }>('GET', 'api/v1/profiles')).profiles,
    delete: async (name: string): Promise<void> => { await this.#http.ask('DELETE', `api/v1/profiles/${encodeURIComponent(name)}`); },
    /** As tar.zst, log-ins included. */
    export: (name: string): Promise<Uint8Array> => this.#http.bytes('GET', `api/v1/profiles/${encodeURIComponent(name)}/archive`),
    import: async (name: string, archive: Uint8Array): Promise<void> => {
      await this.#http.ask('PUT', `api/v1/profiles/${encodeURIComponent(name)}/archive`, { body: archive, headers: { 'content-type': 'application/zstd' } });
    },
  };
}
