import { ApiError, type Ask, type Connection, isHost, mayHost } from '@glasshouse/client';
import { useRoom } from '@glasshouse/react';
import { type ReactElement, useEffect, useRef, useState } from 'react';
import { chime } from './ask-sound.ts';
import { Icon } from './icons.tsx';

/** Questions of programs to the people of the room, the oldest first; whoever may control can do what is asked for. */
export function AskBanner({ connection, sound }: { connection: Connection; sound: boolean }): ReactElement | null {
  const { asks } = useRoom(connection);
  useNotice(asks, sound);
  if (!asks.length) return null;
  return (
    <div className="asks">
      {asks.map((ask) => (
        <Question key={ask.id} ask={ask} connection={connection} />
      ))}
    </div>
  );
}

/** Makes a sound for each new question, and says so in the window's title. */
function useNotice(asks: readonly Ask[], sound: boolean): void {
  const heard = useRef(new Set<string>());
  const [first] = asks;
  useEffect(() => {
    const isNew = asks.some(({ id }) => !heard.current.has(id));
    heard.current = new Set(asks.map(({ id }) => id));
    if (isNew && sound) chime();
  }, [asks, sound]);
  useEffect(() => {
    if (!first) return;
    const before = document.title;
    document.title = `${first.name} asks for help`;
    return () => {
      document.title = before;
    };
  }, [first?.id, first?.name]);
}

function Question({ ask, connection }: { ask: Ask; connection: Connection }): ReactElement {
  const room = useRoom(connection);
  const [note, setNote] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [said, setSaid] = useState('');
  const field = useRef<HTMLInputElement>(null);
  const host = isHost(room);
  const may = mayHost(room);
  const helper = ask.taken_by === null || ask.taken_by === room.selfId ? null : (room.members.get(ask.taken_by)?.profile.name ?? 'Someone');

  const send = async (path: string, body?: unknown): Promise<void> => {
    setBusy(true);
    setSaid('');
    try {
      const response = await connection.api.request('POST', `v1/ask/${encodeURIComponent(ask.id)}/${path}`, body);
      if (response.status === 202) setSaid('Whoever is in control was asked for it.');
    } catch (error) {
      setSaid(error instanceof ApiError ? `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.` : 'That did not work.');
    }
    setBusy(false);
  };
  const answer = (outcome: 'done' | 'declined'): void => void send('answer', { outcome, ...(note?.trim() ? { note: note.trim() } : {}) });

  const hint = host ? 'You are in control: do it here, then say so.' : helper ? `${helper} is on it.` : may ? '' : 'You can watch only.';
  return (
    <section className="ask" aria-label="A program asks for help">
      <div className="visually-hidden" role="alert">
        {ask.name} asks for help: {ask.reason}
      </div>
      <span className="ask-mark">
        <Icon name="help" />
      </span>
      <div className="ask-words">
        <strong>{ask.name} asks for help</strong>
        <p className="ask-reason">{ask.reason}</p>
        <small role="status">{said || hint}</small>
      </div>
      {may && (
        <div className="ask-actions">
          {note !== null && (
            <input
              ref={field}
              aria-label="Note for the program"
              placeholder="Note for the program (optional)"
              maxLength={1000}
              value={note}
              onChange={(event) => setNote(event.target.value)}
              onKeyDown={(event) => event.key === 'Enter' && host && answer('done')}
            />
          )}
          {host ? (
            <button type="button" className="primary" disabled={busy} onClick={() => answer('done')}>
              Done
            </button>
          ) : (
            <button type="button" className="primary" disabled={busy} onClick={() => void send('take')}>
              Take over
            </button>
          )}
          <button type="button" disabled={busy} onClick={() => answer('declined')}>
            I can’t
          </button>
          {note === null && (
            <button
              type="button"
              className="quiet"
              onClick={() => {
                setNote('');
                setTimeout(() => field.current?.focus());
              }}
            >
              Add a note
            </button>
          )}
        </div>
      )}
    </section>
  );
}
