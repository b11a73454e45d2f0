import { type Fleet, FleetError, type FleetEvent, type FleetSession, type FleetState, listen } from '@glasshouse/client';

/** What the console knows. Replaced, never changed, so that it can be compared by identity. */
export interface Known {
  /** Newest first; the ended ones too while the page is open. */
  readonly sessions: readonly FleetSession[];
  /** Whether the first list has come. */
  readonly loaded: boolean;
  /** Whether events arrive. */
  readonly live: boolean;
  readonly problem: string | null;
  /** The token is good no more, and why. */
  readonly refused: string | null;
}

/** Ended sessions are looked for by those who ask for them. */
const RUNNING: readonly FleetState[] = ['creating', 'ready', 'frozen'];
/** Ended sessions that are kept in the page. */
const ENDED = 200;

export const isOver = (state: FleetState): boolean => state === 'terminated' || state === 'failed';

const newestFirst = (a: FleetSession, b: FleetSession): number => (a.created_at === b.created_at ? (a.id < b.id ? 1 : -1) : a.created_at < b.created_at ? 1 : -1);

/** The sessions of a fleet, as they are: read once, and kept by the fleet's events. */
export class Store {
  known: Known = { sessions: [], loaded: false, live: false, problem: null, refused: null };
  readonly #listeners = new Set<() => void>();
  #stop: (() => void) | null = null;
  #reading = 0;
  #wantsEnded = false;

  constructor(readonly fleet: Fleet) {}

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): Known => this.known;

  start(): void {
    this.#stop ??= listen(this.fleet, {
      event: (event) => this.#event(event),
      renew: () => void this.renew(),
      live: (live) => this.#set({ live }),
      refused: (error) => this.#set({ refused: error.message }),
    });
  }

  stop(): void {
    this.#stop?.();
    this.#stop = null;
  }

  /** Reads the ended ones as well from now on. */
  wantEnded(): void {
    if (this.#wantsEnded) return;
    this.#wantsEnded = true;
    void this.renew();
  }

  /** Reads everything anew. */
  async renew(): Promise<void> {
    const reading = ++this.#reading;
    try {
      const running = await this.fleet.all(RUNNING);
      const ended = this.#wantsEnded ? (await this.fleet.list({ states: ['terminated', 'failed'], limit: ENDED })).sessions : this.known.sessions.filter(({ state }) => isOver(state));
      // A later reading knows better.
      if (reading !== this.#reading) return;
      const ids = new Set(running.map(({ id }) => id));
      this.#set({ sessions: [...running, ...ended.filter(({ id }) => !ids.has(id))].sort(newestFirst), loaded: true, problem: null });
    } catch (error) {
      if (reading !== this.#reading) return;
      if (error instanceof FleetError && (error.status === 401 || error.status === 403)) this.#set({ refused: error.message });
      else this.#set({ problem: error instanceof Error ? error.message : String(error) });
    }
  }

  /** Takes over what an answer says of one session. */
  put(session: FleetSession): void {
    const others = this.known.sessions.filter(({ id }) => id !== session.id);
    this.#set({ sessions: [...others, session].sort(newestFirst) });
  }

  #event({ session, state, reason }: FleetEvent): void {
    const old = this.known.sessions.find(({ id }) => id === session);
    if (old) {
      if (old.state !== state) this.put({ ...old, state, reason });
      // The times of it have changed as well.
      if (isOver(state)) return;
    } else if (isOver(state)) return;
    void this.fleet.read(session).then(
      (read) => this.put(read),
      () => {
        // It ended meanwhile, which an event says.
      },
    );
  }

  #set(change: Partial<Known>): void {
    this.known = { ...this.known, ...change };
    for (const listener of this.#listeners) listener();
  }
}
