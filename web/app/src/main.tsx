import { Connection, takeToken } from '@glasshouse/client';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app.tsx';
import { Boundary } from './boundary.tsx';
import { installDebugHandle } from './debug.ts';
import { guestName, loadVideo, storage } from './preferences.ts';
import './styles.css';

// The page lives at its base path, whatever file name or query was asked for.
const server = new URL('.', location.href);
server.search = '';
server.hash = '';

const token = takeToken(location, history);
const connection = new Connection({ server, storage, video: loadVideo() });
installDebugHandle(connection);

// A link works once: after a reload the kept session must do.
if (token !== null) {
  void connection.login(guestName(), token).then(() => {
    if (connection.status.state === 'signed-out') connection.resume();
  });
} else connection.resume();

const root = document.getElementById('root');
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Boundary>
        <App connection={connection} />
      </Boundary>
    </StrictMode>,
  );
}
