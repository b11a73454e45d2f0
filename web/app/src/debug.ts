import type { Connection, Viewer } from '@glasshouse/client';

let viewer: Viewer | null = null;

/** The viewer whose picture the handle tells of. */
export function setDebugViewer(value: Viewer | null): void {
  viewer = value;
}

/** `window.glasshouse`: what end-to-end tests and people with a console may read. Nothing can be changed through it. */
export function installDebugHandle(connection: Connection): void {
  const handle = {
    get state() {
      return connection.status.state;
    },
    get selfId() {
      return connection.room.selfId;
    },
    get hostId() {
      return connection.room.hostId;
    },
    get members() {
      return [...connection.room.members.values()].map(({ id, profile, state }) => ({ id, name: profile.name, connected: state.is_connected }));
    },
    get screen() {
      return { ...connection.room.screen };
    },
    /** Size of the decoded picture, and where it lies in the viewer (CSS pixels). */
    get video() {
      return viewer ? { ...viewer.player.size, frames: viewer.player.frames, patches: viewer.player.patches, picture: { ...viewer.picture } } : null;
    },
    get dataChannel() {
      return connection.peer?.open ?? false;
    },
    get roundTripMs() {
      return connection.peer?.roundTrip ?? null;
    },
    /** Resolves to the statistics of the peer, null without one. */
    stats: async () => (connection.peer && viewer ? viewer.player.stats(connection.peer.connection) : null),
  };
  Object.defineProperty(window, 'glasshouse', { value: Object.freeze(handle), enumerable: false });
}
