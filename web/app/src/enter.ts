import { type Connection, Fleet, FleetError, isFleetToken } from '@glasshouse/client';
import { COOKIE, fleetOf, loadFleetToken, loadWay, setWay } from './fleet-pass.ts';
import { guestName } from './preferences.ts';

/** Between looks at whether a session that is being started is ready. */
const STARTING = 700;

/** How a page of a fleet gets into its room: the token of its link, the console's, or the browser's cookie. */
export interface Way {
  fleet: Fleet;
  id: string;
}

/** The way of this tab into the room at `server`; `token` is the one of its address, if any. */
export function findWay(server: URL, token: string | null): Way | null {
  const around = fleetOf(server);
  if (!around) return null;
  if (token !== null && isFleetToken(token)) setWay(server.pathname, token);
  const own = loadWay(server.pathname) ?? loadFleetToken(around.base);
  if (own === null) return null;
  setWay(server.pathname, own);
  return { fleet: new Fleet(around.base, own === COOKIE ? null : own), id: around.id };
}

/** The way of a browser that is signed in; null when it is not, or there is no fleet. */
export async function findCookieWay(server: URL): Promise<Way | null> {
  const around = fleetOf(server);
  if (!around) return null;
  const fleet = new Fleet(around.base, null);
  const ways = await fleet.ways().catch(() => null);
  if (!ways?.user) return null;
  setWay(server.pathname, null);
  return { fleet, id: around.id };
}

/** Goes on with this tab's membership, or joins anew; a failure is told by the status. */
export function enter(connection: Connection, way: Way): void {
  let isJoining = false;
  const join = async (): Promise<void> => {
    isJoining = true;
    connection.wait();
    try {
      for (;;) {
        try {
          const { token } = await way.fleet.join(way.id);
          await connection.login(guestName(), token);
          return;
        } catch (error) {
          // It is being started, or the server is.
          if (!(error instanceof FleetError) || (error.status !== 409 && error.status !== 0)) throw error;
          await new Promise((resolve) => setTimeout(resolve, STARTING));
        }
      }
    } catch (error) {
      connection.refuse(explain(error, way));
    } finally {
      isJoining = false;
    }
  };
  // A membership that is kept may have ended meanwhile; then it is joined once more, and again when it was live in between.
  let tries = 0;
  connection.on('status', ({ state }) => {
    if (state === 'live') tries = 0;
    if (state === 'signed-out' && !isJoining && tries++ === 0) void join();
  });
  if (!connection.resume()) void join();
}

function explain(error: unknown, way: Way): string {
  if (error instanceof FleetError && error.status === 401 && way.fleet.token === null) return 'You are no longer signed in.';
  if (error instanceof FleetError && error.status === 401) return 'This link is no longer valid: it has expired or was taken back. Ask for a new one.';
  if (error instanceof FleetError && error.status === 404) return way.fleet.token === null ? 'This session has ended, or is not yours.' : 'This session has ended.';
  return error instanceof Error ? error.message : String(error);
}
