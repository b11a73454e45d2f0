import type { ProgramsMode, SessionData, Settings } from './protocol.ts';

/** A refused request: `status` is the HTTP status, 0 when the server was not reached. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The REST calls of a room. */
export class Api {
  /** Set after logging in. */
  token: string | null = null;

  /** `base` ends with a slash; everything is relative to it. */
  constructor(readonly base: URL) {}

  /** The address of `path` (without a leading slash) on this server. */
  url(path: string): URL {
    return new URL(path, this.base);
  }

  async request(method: string, path: string, body?: unknown): Promise<Response> {
    const headers: Record<string, string> = {};
    if (this.token) headers['Authorization'] = `Bearer ${this.token}`;
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    let response: Response;
    try {
      response = await fetch(this.url(path), { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    } catch {
      throw new ApiError(0, 'The server cannot be reached.');
    }
    if (response.ok) return response;
    const message = await response
      .json()
      .then((value: { message?: unknown }) => (typeof value.message === 'string' ? value.message : response.statusText))
      .catch(() => response.statusText);
    throw new ApiError(response.status, message);
  }

  async #json<T>(method: string, path: string, body?: unknown): Promise<T> {
    return (await this.request(method, path, body)).json() as Promise<T>;
  }

  /** Logs in with a name and a password, or a one-time token as password, and keeps the session's token. */
  async login(username: string, password: string): Promise<SessionData> {
    this.token = null;
    const session = await this.#json<SessionData>('POST', 'api/login', { username, password });
    this.token = session.token ?? null;
    return session;
  }

  logout = (): Promise<unknown> => this.request('POST', 'api/logout');
  rename = (name: string): Promise<unknown> => this.request('POST', 'api/profile', { name });
  releaseControl = (): Promise<unknown> => this.request('POST', 'api/room/control/release');
  takeControl = (): Promise<unknown> => this.request('POST', 'api/room/control/take');
  resetControl = (): Promise<unknown> => this.request('POST', 'api/room/control/reset');
  giveControl = (id: string): Promise<unknown> => this.request('POST', `api/room/control/give/${encodeURIComponent(id)}`);
  removeMember = (id: string): Promise<unknown> => this.request('DELETE', `api/sessions/${encodeURIComponent(id)}`);
  updateSettings = (settings: Partial<Settings>): Promise<unknown> => this.request('POST', 'api/room/settings', settings);
  setMode = (mode: ProgramsMode): Promise<unknown> => this.request('POST', 'api/glasshouse/programs', { mode });
  setKeyboard = (layout: string, variant: string): Promise<unknown> => this.request('POST', 'api/room/keyboard/map', { layout, variant });
  setClipboard = (data: { text?: string; html?: string }): Promise<unknown> => this.request('POST', 'api/room/clipboard', data);
  clipboard = (): Promise<{ text?: string; html?: string }> => this.#json('GET', 'api/room/clipboard');

  /** Asks for control: true when it was given at once, false when the host was asked. */
  async requestControl(): Promise<boolean> {
    return (await this.request('POST', 'api/room/control/request')).status !== 202;
  }

  async clipboardImage(): Promise<Blob> {
    return (await this.request('GET', 'api/room/clipboard/image.png')).blob();
  }

  /** Makes a link for others. `expiresIn` is seconds, 60 – 2,592,000. */
  async createLink(options: { admin: boolean; expiresIn: number; uses: number }): Promise<{ url: string; expiresAt: string }> {
    const answer = await this.#json<{ token: string; expires_at: string }>('POST', 'api/glasshouse/links', {
      admin: options.admin,
      expires_in: options.expiresIn,
      uses: options.uses,
    });
    const url = new URL(this.base);
    url.hash = `token=${answer.token}`;
    return { url: url.href, expiresAt: answer.expires_at };
  }
}
