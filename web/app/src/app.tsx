import type { Connection } from '@glasshouse/client';
import { useStatus } from '@glasshouse/react';
import type { ReactElement } from 'react';
import { Login } from './login.tsx';
import { RoomPage } from './room-page.tsx';

/** The sign-in form while there is no membership, the room otherwise. */
export function App({ connection }: { connection: Connection }): ReactElement {
  const status = useStatus(connection);
  return status.state === 'signed-out' ? <Login connection={connection} error={status.error} /> : <RoomPage connection={connection} />;
}
