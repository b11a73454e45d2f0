import { ApiError, type Connection, type Viewer } from '@glasshouse/client';
import { useRoom } from '@glasshouse/react';
import { type ReactElement, useEffect, useState } from 'react';
import { Panel } from './panel.tsx';

/** Text in and out where the browser does not let the page at the clipboard. */
export function ClipboardPanel({ connection, viewer, onClose }: { connection: Connection; viewer: Viewer; onClose: () => void }): ReactElement {
  useRoom(connection);
  const { clipboard } = viewer;
  const [text, setText] = useState(clipboard.text);
  const [note, setNote] = useState<string | null>(null);
  useEffect(() => clipboard.on('text', ({ text: next }) => setText(next)), [clipboard]);
  const allowed = clipboard.allowed;
  const run = (promise: Promise<string>): void => void promise.then(setNote, (error: unknown) => setNote(error instanceof ApiError ? error.message : 'The browser does not allow it.'));
  return (
    <Panel title="Clipboard" onClose={onClose}>
      {!allowed && <p className="hint">Only the person in control uses the session's clipboard.</p>}
      <textarea data-autofocus aria-label="Clipboard text" rows={7} value={text} onChange={(event) => setText(event.target.value)} placeholder="Copy something in the session, or put text here to send it there." />
      <div className="row">
        <button type="button" disabled={!allowed} onClick={() => run(clipboard.send(text).then(() => 'Sent to the session.'))}>
          Send to session
        </button>
        <button type="button" onClick={() => run(navigator.clipboard.writeText(text).then(() => 'Copied to this device.'))}>
          Copy here
        </button>
        <button type="button" disabled={!allowed} onClick={() => run(clipboard.takeImage().then((how) => (how === 'copied' ? 'Picture copied.' : 'Picture downloaded.')))}>
          Take picture
        </button>
      </div>
      <small role="status">{note}</small>
    </Panel>
  );
}
