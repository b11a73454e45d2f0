import { Connection, takeToken } from '@glasshouse/client';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app.tsx';
import { Boundary } from './boundary.tsx';
import { installDebugHandle } from './debug.ts';
import { enter, findCookieWay, findWay } from './enter.ts';
import { fleetOf, loadFleetToken, tabStorage } from './fleet-pass.ts';
import { guestName, loadVideo, storage } from './preferences.ts';
import './base.css';
import './styles.css';
import './ask-banner.css';

// The page lives at its base path, whatever file name or query was asked for.
const server = new URL('.', location.href);
server.search = '';
server.hash = '';

const token = takeToken(location, history);
const way = findWay(server, token);
const fleet = fleetOf(server);
// Two tabs that came by different links are two members.
const connection = new Connection({ server, storage: way ? tabStorage : storage, video: loadVideo() });
installDebugHandle(connection);

// A room's own link works once: after a reload the kept session must do.
if (token !== null && !(way && token === way.fleet.token)) {
  void connection.login(guestName(), token).then(() => {
    if (connection.status.state === 'signed-out') connection.resume();
  });
} else if (way) enter(connection, way);
else if (!connection.resume() && fleet) {
  connection.wait();
  void findCookieWay(server).then((found) => {
    if (found) enter(connection, found);
    else connection.refuse(null);
  });
}

const root = document.getElementById('root');
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Boundary>
        <App connection={connection} consoleUrl={fleet && (way?.fleet.token === null || loadFleetToken(fleet.base)) ? fleet.base.href : null} isLinked={way !== null} />
      </Boundary>
    </StrictMode>,
  );
}
