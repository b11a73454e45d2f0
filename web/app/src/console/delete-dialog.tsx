import type { Fleet, FleetSession } from '@glasshouse/client';
import { type ReactElement, useEffect, useState } from 'react';
import { Dialog } from './dialog.tsx';
import { title } from './format.ts';

/** Asks once more before a session is ended. */
export function DeleteDialog({ fleet, session, onClose, onDeleted }: { fleet: Fleet; session: FleetSession; onClose: () => void; onDeleted: (session: FleetSession) => void }): ReactElement {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const [viewers, setViewers] = useState(session.connections);
  useEffect(() => {
    fleet.read(session.id).then(
      ({ connections }) => setViewers(connections),
      () => {},
    );
  }, [fleet, session.id]);
  const end = async (): Promise<void> => {
    setBusy(true);
    try {
      onDeleted(await fleet.end(session.id));
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
      setBusy(false);
    }
  };
  return (
    <Dialog title={`Delete ${title(session)}?`} onClose={onClose}>
      <p>
        Its programs end now, and what is not kept in a profile is lost.
        {viewers > 0 && ` ${viewers === 1 ? 'One person or program is' : `${viewers} people or programs are`} connected.`}
      </p>
      {problem && (
        <p className="problem" role="alert">
          {problem}
        </p>
      )}
      <footer>
        <button type="button" data-autofocus onClick={onClose}>
          Keep it
        </button>
        <button type="button" className="primary destroy" disabled={busy} onClick={() => void end()}>
          {busy ? 'Deleting…' : 'Delete'}
        </button>
      </footer>
    </Dialog>
  );
}
