/** Keeps the connections of a page's WebRTC in `window.__peers`, whatever the page calls them. */
export const keepPeers = (page) => page.addInitScript(() => {
  window.__peers = [];
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...rest) { super(...rest); window.__peers.push(this); }
  };
});
