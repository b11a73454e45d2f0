import type { Connection, Status } from '@glasshouse/client';
import { type ReactElement, useEffect, useState } from 'react';

/** Says over the last picture what has become of the connection. */
export function StatusOverlay({ connection, status, consoleUrl }: { connection: Connection; status: Status; consoleUrl: string | null }): ReactElement | null {
  const seconds = useCountdown(status.state === 'reconnecting' ? status.retryAt : null);
  if (status.state === 'live' || status.state === 'signed-out') return null;
  const text = {
    connecting: 'Connecting…',
    reconnecting: seconds ? `Connection lost. Trying again in ${seconds} s` : 'Connection lost. Reconnecting…',
    asleep: 'This session is open in another window.',
    kicked: status.state === 'kicked' && status.message === 'link expired' ? 'Your link has expired.' : 'You were removed from this session.',
    ended: 'The session has ended.',
  }[status.state];
  const still = status.state === 'connecting' || status.state === 'reconnecting';
  return (
    <div className={`overlay ${status.state}`}>
      <div className="overlay-card">
        {still && <span className="spinner" aria-hidden="true" />}
        {/* The countdown would be read out every second. */}
        <p role="status" aria-label={status.state === 'reconnecting' ? 'Connection lost. Reconnecting.' : undefined}>
          {text}
        </p>
        {!still && (
          <button type="button" className="primary" onClick={() => connection.reconnect()}>
            {status.state === 'asleep' ? 'Use it here' : 'Try again'}
          </button>
        )}
        {!still && consoleUrl && (
          <a className="button" href={consoleUrl}>
            All sessions
          </a>
        )}
      </div>
    </div>
  );
}

function useCountdown(until: number | null): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (until === null) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 250);
    return () => clearInterval(timer);
  }, [until]);
  return until === null ? 0 : Math.max(0, Math.ceil((until - now) / 1000));
}
