import type { Connection } from '@glasshouse/client';
import { useStatus } from '@glasshouse/react';
import type { ReactElement } from 'react';
import { Login } from './login.tsx';
import { NoWay } from './no-way.tsx';
import { RoomPage } from './room-page.tsx';

interface AppProps {
  connection: Connection;
  /** Where all sessions are, for who may see them. */
  consoleUrl: string | null;
  /** Came by a link of a fleet: there is no password to ask for. */
  isLinked: boolean;
}

/** The sign-in form while there is no membership, the room otherwise. */
export function App({ connection, consoleUrl, isLinked }: AppProps): ReactElement {
  const status = useStatus(connection);
  if (status.state !== 'signed-out') return <RoomPage connection={connection} consoleUrl={consoleUrl} />;
  return isLinked ? <NoWay message={status.error} consoleUrl={consoleUrl} /> : <Login connection={connection} error={status.error} />;
}
