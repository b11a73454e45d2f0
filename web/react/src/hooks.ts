import type { Connection, Room, Status } from '@glasshouse/client';
import { useCallback, useSyncExternalStore } from 'react';

/** The room as it is now; renders again when it changes. */
export function useRoom(connection: Connection): Room {
  return useSyncExternalStore(
    useCallback((changed: () => void) => connection.on('room', changed), [connection]),
    () => connection.room,
  );
}

/** The connection's state as it is now; renders again when it changes. */
export function useStatus(connection: Connection): Status {
  return useSyncExternalStore(
    useCallback((changed: () => void) => connection.on('status', changed), [connection]),
    () => connection.status,
  );
}
