import type { Connection } from '@glasshouse/client';
import { useStatus } from '@glasshouse/react';
import { type ReactElement, useEffect, useState } from 'react';
import { Login } from './login.tsx';
import { RoomPage } from './room-page.tsx';

/** The sign-in form while there is no membership, the room otherwise. */
export function App({ connection }: { connection: Connection }): ReactElement {
  const status = useStatus(connection);
  const [joined, setJoined] = useState(status.state === 'live');
  useEffect(() => {
    if (status.state === 'live') setJoined(true);
    if (status.state === 'signed-out') setJoined(false);
  }, [status]);
  if (status.state === 'signed-out' && !joined) return <Login connection={connection} error={status.error} />;
  return <RoomPage connection={connection} />;
}
