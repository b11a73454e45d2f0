import type { FleetSession, FleetState } from '@glasshouse/client';
import { type ReactElement, useCallback, useDeferredValue, useEffect, useMemo, useRef, useState } from 'react';
import { Icon, Mark } from '../icons.tsx';
import { Toasts, useToasts } from '../toasts.tsx';
import { Card } from './card.tsx';
import { CreateDialog } from './create-dialog.tsx';
import { DeleteDialog } from './delete-dialog.tsx';
import { title } from './format.ts';
import { ShareDialog } from './share-dialog.tsx';
import { type Known, type Store, isOver } from './store.ts';
import { useNow } from './watch.ts';

/** Cards that are made at once; more are when the end of the list comes into view, or is asked for. */
const STEP = 60;

type Show = 'running' | 'ready' | 'frozen' | 'ended';
const shows: Record<Show, { label: string; has: (state: FleetState) => boolean }> = {
  running: { label: 'All', has: (state) => !isOver(state) },
  ready: { label: 'Ready', has: (state) => state === 'ready' || state === 'creating' },
  frozen: { label: 'Frozen', has: (state) => state === 'frozen' },
  ended: { label: 'Ended', has: isOver },
};

type Open = { dialog: 'create' } | { dialog: 'share' | 'delete'; id: string } | null;

/** Words of a session that a search looks in. */
const words = (session: FleetSession): string =>
  [session.id, session.name, session.url, session.app, ...Object.entries(session.labels).map((pair) => pair.join('='))].join(' ').toLowerCase();

/** All sessions as cards, and what can be done with them. */
export function Sessions({ store, known, name, onLeave }: { store: Store; known: Known; name: string | null; onLeave: () => void }): ReactElement {
  const { fleet } = store;
  const [open, setOpen] = useState<Open>(null);
  const [show, setShow] = useState<Show>('running');
  const [search, setSearch] = useState('');
  const [count, setCount] = useState(STEP);
  const { toasts, show: toast, dismiss } = useToasts();
  const now = useNow();
  const wanted = useDeferredValue(search.trim().toLowerCase());

  useEffect(() => {
    if (show === 'ended') store.wantEnded();
  }, [show, store]);

  const found = useMemo(
    () => known.sessions.filter((session) => shows[show].has(session.state) && wanted.split(/\s+/).every((word) => words(session).includes(word))),
    [known.sessions, show, wanted],
  );
  const running = known.sessions.filter(({ state }) => !isOver(state));
  const numbers: Record<Show, number | null> = {
    running: running.length,
    ready: running.filter(({ state }) => shows.ready.has(state)).length,
    frozen: running.filter(({ state }) => state === 'frozen').length,
    ended: null,
  };
  const choose = (next: Show): void => {
    setShow(next);
    setCount(STEP);
  };

  const act = useCallback(
    (action: 'freeze' | 'thaw' | 'share' | 'delete', session: FleetSession): void => {
      if (action === 'share' || action === 'delete') {
        setOpen({ dialog: action, id: session.id });
        return;
      }
      fleet[action](session.id).then(
        (answer) => store.put(answer),
        (error: unknown) => toast({ key: session.id, text: `${title(session)}: ${error instanceof Error ? error.message : String(error)}` }),
      );
    },
    [fleet, store, toast],
  );

  const opened = open && 'id' in open ? known.sessions.find(({ id }) => id === open.id) : undefined;
  const shown = found.slice(0, count);
  const close = (): void => setOpen(null);
  return (
    <div className="console">
      <header className="top">
        <h1>
          <Mark /> <span>Sessions</span>
        </h1>
        <span className={`live${known.live ? ' on' : ''}`} role="status">
          {known.live ? 'Live' : known.loaded ? 'Reconnecting…' : 'Connecting…'}
        </span>
        <label className="search">
          <span className="visually-hidden">Search sessions</span>
          <Icon name="search" />
          <input
            type="search"
            value={search}
            onChange={(event) => {
              setSearch(event.target.value);
              setCount(STEP);
            }}
            placeholder="Name, address, label"
            spellCheck={false}
          />
        </label>
        <button type="button" className="primary new" onClick={() => setOpen({ dialog: 'create' })}>
          <Icon name="plus" /> <span>New session</span>
        </button>
        {name && (
          <span className="who" title={`Signed in as ${name}`}>
            <span className="visually-hidden">Signed in as</span> {name}
          </span>
        )}
        <button type="button" className="icon" aria-label="Sign out" title="Sign out" onClick={onLeave}>
          <Icon name="leave" />
        </button>
      </header>
      <nav className="filters" aria-label="Which sessions">
        {(Object.keys(shows) as Show[]).map((name) => (
          <button key={name} type="button" aria-pressed={show === name} onClick={() => choose(name)}>
            {shows[name].label} {numbers[name] !== null && <small>{numbers[name]}</small>}
          </button>
        ))}
      </nav>
      {known.problem && (
        <p className="notice problem" role="alert">
          {known.problem}{' '}
          <button type="button" onClick={() => void store.renew()}>
            Try again
          </button>
        </p>
      )}
      <main aria-busy={!known.loaded}>
        <p className="visually-hidden" role="status">
          {known.loaded ? `${found.length} ${found.length === 1 ? 'session' : 'sessions'}` : 'Loading'}
        </p>
        <ul className="grid">
          {shown.map((session) => (
            <Card key={session.id} fleet={fleet} session={session} now={now} onAction={act} />
          ))}
        </ul>
        {shown.length < found.length && <More left={found.length - shown.length} onMore={() => setCount((old) => old + STEP)} />}
        {known.loaded && found.length === 0 && <Nothing show={show} searching={wanted !== ''} onNew={() => setOpen({ dialog: 'create' })} />}
      </main>
      {open?.dialog === 'create' && (
        <CreateDialog
          fleet={fleet}
          onClose={close}
          onCreated={(session) => {
            store.put(session);
            close();
            choose('running');
            setSearch('');
          }}
        />
      )}
      {open?.dialog === 'share' && opened && <ShareDialog fleet={fleet} session={opened} onClose={close} />}
      {open?.dialog === 'delete' && opened && (
        <DeleteDialog
          fleet={fleet}
          session={opened}
          onClose={close}
          onDeleted={(session) => {
            store.put(session);
            close();
            toast({ text: `${title(session)} was deleted.` });
          }}
        />
      )}
      <Toasts toasts={toasts} dismiss={dismiss} />
    </div>
  );
}

function Nothing({ show, searching, onNew }: { show: Show; searching: boolean; onNew: () => void }): ReactElement {
  if (searching || show !== 'running') {
    return <p className="nothing">{searching ? 'No session matches.' : show === 'ended' ? 'No session has ended.' : `No session is ${show}.`}</p>;
  }
  return (
    <div className="nothing">
      <p>No session runs. Make one: it is a browser of its own, isolated from all others.</p>
      <button type="button" className="primary" onClick={onNew}>
        New session
      </button>
    </div>
  );
}

/** The end of the list: a button, which presses itself when it comes into view. */
function More({ left, onMore }: { left: number; onMore: () => void }): ReactElement {
  const button = useRef<HTMLButtonElement>(null);
  const more = useRef(onMore);
  more.current = onMore;
  useEffect(() => {
    if (!button.current) return;
    const observer = new IntersectionObserver((entries) => entries.at(-1)?.isIntersecting && more.current(), { rootMargin: '600px' });
    observer.observe(button.current);
    return () => observer.disconnect();
    // Anew after every step: the end that stays in view is no change for an observer.
  }, [left]);
  return (
    <button ref={button} type="button" className="more-sessions" onClick={onMore}>
      Show more ({left})
    </button>
  );
}
