// A seat in a session's room, which computer use needs: taken when it is first used.

import { ProblemError } from './errors.js';
import type { Ticket } from './generated/fleet.js';
import type { Ask, Http } from './http.js';

export class Room {
  readonly #http: Http;
  readonly #id: string;
  #token: Promise<string> | undefined;
  /** What viewers see the program called. */
  name = 'program';

  constructor(http: Http, id: string) {
    this.#http = http;
    this.#id = id;
  }

  async #login(): Promise<string> {
    const { token: password } = await this.#http.json<Ticket>('POST', `api/v1/sessions/${this.#id}/join`);
    const { token } = await this.#http.json<{ token: string }>('POST', `s/${this.#id}/api/login`, { json: { username: this.name, password }, token: null });
    return token;
  }

  #enter(): Promise<string> {
    const entering = this.#token ??= this.#login();
    // Tried anew the next time.
    entering.catch(() => { if (this.#token === entering) this.#token = undefined; });
    return entering;
  }

  /** Asks for a path below the session's own, such as `v1/desktop/screenshot`. */
  async ask(method: string, path: string, given: Ask = {}): Promise<Response> {
    // Whom viewers see act. Headers are of ASCII.
    const ask = { ...given, headers: { ...(/^[ -~]+$/.test(this.name) ? { 'x-glasshouse-name': this.name } : {}), ...given.headers } };
    const entering = this.#enter();
    const token = await entering;
    try {
      return await this.#http.ask(method, `s/${this.#id}/${path}`, { ...ask, token });
    } catch (error) {
      if (!(error instanceof ProblemError) || error.status !== 401 || ask.body instanceof ReadableStream) throw error;
      // The room has forgotten us: its process was restarted, or an admin sent us out.
      if (this.#token === entering) this.#token = undefined;
      return this.#http.ask(method, `s/${this.#id}/${path}`, { ...ask, token: await this.#enter() });
    }
  }

  async json<T>(method: string, path: string, ask?: Ask): Promise<T> {
    return await (await this.ask(method, path, ask)).json() as T;
  }

  /** Gives the seat back. */
  async leave(): Promise<void> {
    const token = await this.#token?.catch(() => undefined);
    this.#token = undefined;
    if (token) await this.#http.ask('POST', `s/${this.#id}/api/logout`, { json: {}, token, patience: 0 }).catch(() => {});
  }
}
