import type { Fleet, FleetSession } from '@glasshouse/client';
import { type RefObject, useEffect, useState } from 'react';
import { isOver } from './store.ts';
import { type Look, type Rates, rates } from './rates.ts';

/** Between looks at a session that is in view. */
const LOOK_EVERY = 2500;
/** Before the second one, without which there are no rates. */
const LOOK_SOON = 1000;
/** Looks at a time: browsers open six connections to a server, and one is for events. */
const MOST = 4;

let running = 0;
const waiting: (() => void)[] = [];

/** Runs `work` when there is a place for it. */
async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running >= MOST) await new Promise<void>((resolve) => waiting.push(resolve));
  else running++;
  try {
    return await work();
  } finally {
    // The place is passed on.
    const next = waiting.shift();
    if (next) next();
    else running--;
  }
}

/** Whether an element is in view, or nearly, of a page that is seen. */
export function useInView(element: RefObject<HTMLElement | null>): boolean {
  const [inView, setInView] = useState(false);
  const [shown, setShown] = useState(() => document.visibilityState === 'visible');
  useEffect(() => {
    if (!element.current) return;
    const observer = new IntersectionObserver((entries) => setInView(entries.at(-1)?.isIntersecting ?? false), { rootMargin: '120px' });
    observer.observe(element.current);
    const changed = (): void => setShown(document.visibilityState === 'visible');
    document.addEventListener('visibilitychange', changed);
    return () => {
      observer.disconnect();
      document.removeEventListener('visibilitychange', changed);
    };
  }, [element]);
  return inView && shown;
}

/** The picture of a session and what it uses, looked at for as long as it is `watched`. One that is frozen is looked at once. */
export function useLook(fleet: Fleet, session: FleetSession, watched: boolean): { picture: string | null; rates: Rates | null } {
  const [picture, setPicture] = useState<{ url: string; tag: string | null } | null>(null);
  const [used, setUsed] = useState<Rates | null>(null);
  const { id, state } = session;
  const tag = picture?.tag ?? null;

  useEffect(() => {
    if (!picture) return;
    return () => URL.revokeObjectURL(picture.url);
  }, [picture]);

  useEffect(() => {
    if (!watched || state === 'creating' || isOver(state)) return;
    const over = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let known = tag;
    let before: Look | null = null;
    let looks = 0;
    const look = async (): Promise<void> => {
      try {
        await inTurn(async () => {
          if (over.signal.aborted) return;
          const found = await fleet.thumbnail(id, known, over.signal);
          if (found && !over.signal.aborted) {
            known = found.tag;
            setPicture({ url: URL.createObjectURL(found.picture), tag: found.tag });
          }
          const usage = await fleet.usage(id);
          if (over.signal.aborted) return;
          const now = { at: performance.now(), usage };
          setUsed(rates(before, now));
          before = now;
        });
      } catch {
        // It may be ending, or the server be away: the next look, or an event, tells.
      }
      if (!over.signal.aborted && state !== 'frozen') timer = setTimeout(() => void look(), looks++ === 0 ? LOOK_SOON : LOOK_EVERY);
    };
    void look();
    return () => {
      over.abort();
      clearTimeout(timer);
    };
    // Without `tag`: a picture that has come must not begin this anew.
  }, [fleet, id, state, watched]);

  return { picture: picture?.url ?? null, rates: used };
}

/** The time, each second or so while somebody looks. */
export function useNow(every = 5000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
