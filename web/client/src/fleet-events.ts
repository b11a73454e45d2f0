import { type Fleet, FleetError, type FleetEvent } from './fleet.ts';

/** Longest silence before a connection is taken for dead: the server says something every 15 s. */
const SILENCE = 40_000;
const FIRST_DELAY = 500;
const LONGEST_DELAY = 10_000;

/** One block of an event stream. */
export interface Block {
  event: string;
  id: string | null;
  data: string;
}

/** Cuts an event stream (HTML standard 9.2) into blocks; `feed` returns those that are complete. */
export class EventStream {
  #rest = '';

  feed(text: string): Block[] {
    const blocks = (this.#rest + text).replaceAll('\r\n', '\n').split('\n\n');
    this.#rest = blocks.pop() ?? '';
    return blocks.map((block) => {
      const read: Block = { event: 'message', id: null, data: '' };
      for (const line of block.split('\n')) {
        const [, name, value = ''] = /^([a-z]*):? ?(.*)$/.exec(line) ?? [];
        if (name === 'event') read.event = value;
        else if (name === 'id') read.id = value;
        else if (name === 'data') read.data += read.data ? `\n${value}` : value;
      }
      return read;
    });
  }
}

export interface Listener {
  event(event: FleetEvent): void;
  /** Events may have been missed: what is known must be read anew. Also called after every connection, the first included. */
  renew(): void;
  /** Whether events arrive. */
  live(live: boolean): void;
  /** The token is good no more. */
  refused(error: FleetError): void;
}

/** Listens to the events of a fleet until the returned function is called. `EventSource` cannot send the token in a header. */
export function listen(fleet: Fleet, listener: Listener): () => void {
  const over = new AbortController();
  let delay = FIRST_DELAY;
  let wake = (): void => {};
  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  const once = async (): Promise<void> => {
    const connection = new AbortController();
    const abort = (): void => connection.abort();
    over.signal.addEventListener('abort', abort);
    let timer = setTimeout(abort, SILENCE);
    try {
      const response = await fleet.request('GET', 'events', undefined, { headers: { Accept: 'text/event-stream' }, signal: connection.signal });
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      if (!reader) return;
      delay = FIRST_DELAY;
      listener.live(true);
      // Numbers start anew with the server, so what was missed is read whole.
      listener.renew();
      const stream = new EventStream();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(abort, SILENCE);
        for (const { event, data } of stream.feed(value)) {
          if (event === 'session') listener.event(JSON.parse(data) as FleetEvent);
          else if (event === 'lost') listener.renew();
        }
      }
    } finally {
      clearTimeout(timer);
      over.signal.removeEventListener('abort', abort);
      connection.abort();
    }
  };
  const run = async (): Promise<void> => {
    while (!over.signal.aborted) {
      try {
        await once();
      } catch (error) {
        if (over.signal.aborted) return;
        if (error instanceof FleetError && (error.status === 401 || error.status === 403)) return listener.refused(error);
      }
      if (over.signal.aborted) return;
      listener.live(false);
      await pause(delay);
      delay = Math.min(2 * delay, LONGEST_DELAY);
    }
  };
  const hurry = (): void => wake();
  addEventListener('online', hurry);
  void run();
  return () => {
    over.abort();
    removeEventListener('online', hurry);
    wake();
  };
}
