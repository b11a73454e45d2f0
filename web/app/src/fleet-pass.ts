/**
 * What this tab has to show to a fleet, in session storage: the console's token, and for each room the token that it was last
 * entered with. Never in an address: a link's token is behind `#` and is taken out of the address bar at once.
 */

const pass: Storage | null = (() => {
  try {
    return globalThis.sessionStorage;
  } catch {
    return null;
  }
})();

/** This tab's storage, or null where the browser forbids it. */
export const tabStorage = pass;

const consoleKey = (base: URL): string => `glasshouse:${base.pathname}:fleet`;
const wayKey = (room: string): string => `glasshouse:${room}:way`;

export const loadFleetToken = (base: URL): string | null => pass?.getItem(consoleKey(base)) ?? null;

export function saveFleetToken(base: URL, token: string | null): void {
  if (token === null) pass?.removeItem(consoleKey(base));
  else pass?.setItem(consoleKey(base), token);
}

/** In the place of a token: this browser is signed in, which its cookie says. */
export const COOKIE = 'cookie';

/** The token that a room of this tab is entered with, or `COOKIE`. */
export const loadWay = (room: string): string | null => pass?.getItem(wayKey(room)) ?? null;

/** Says with which token a room is entered from now on. A membership that came by another one is forgotten. */
export function setWay(room: string, token: string | null): void {
  const way = token ?? COOKIE;
  if (loadWay(room) === way) return;
  pass?.removeItem(`glasshouse:${room}:session`);
  pass?.setItem(wayKey(room), way);
}

/** Where the console of a room's server is, and the room's id; null for a room that has no fleet around it. */
export function fleetOf(room: URL): { base: URL; id: string } | null {
  const found = /\/s\/([a-z2-7]{26})\/$/.exec(room.pathname);
  return found?.[1] ? { base: new URL('../../', room), id: found[1] } : null;
}
