// noVNC's page, with its names and its parameters, on noVNC's own library, which is served as it comes.
//
// Parameters stand behind `?`, or behind `#`, which no server sees: put a token there. Those behind `#` count first.

import RFB from '../core/rfb.js';

const isLite = location.pathname.endsWith('/vnc_lite.html');
const query = new URLSearchParams(location.search);
const fragment = new URLSearchParams(location.hash.slice(1));

const text = (name, usual) => fragment.get(name) ?? query.get(name) ?? usual;
const flag = (name, usual) => {
  const value = text(name, null);
  return value === null ? usual : ['1', 'true', 'yes', 'on', ''].includes(value.toLowerCase());
};
const number = (name, usual, most) => {
  const value = Number(text(name, usual));
  return Number.isInteger(value) && value >= 0 && value <= most ? value : usual;
};

const settings = {
  autoconnect: flag('autoconnect', isLite),
  path: text('path', 'websockify'),
  resize: flag('scale', false) ? 'scale' : text('resize', 'off'),
  viewOnly: flag('view_only', false),
  shared: flag('shared', true),
  showDot: flag('show_dot', false),
  quality: number('quality', 6, 9),
  compression: number('compression', 2, 9),
  reconnect: flag('reconnect', false),
  reconnectDelay: number('reconnect_delay', 5000, 3_600_000),
};

/**
 * Where the display is, on this server and on no other. A path counts from the folder of this page, as noVNC has it since 1.6, or,
 * where it names that folder, from the root, as before.
 */
function address() {
  const folder = location.pathname.slice(1, location.pathname.lastIndexOf('/') + 1);
  const isWhole = folder !== '' && settings.path.startsWith(folder);
  const url = new URL(isWhole ? `/${settings.path}` : settings.path, location.href);
  if (url.origin !== location.origin) throw new Error(`path leads to another server: ${url.origin}`);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  url.hash = '';
  return url.href;
}

const [status, message, button, screen] = ['status', 'message', 'connect', 'screen'].map((id) => document.getElementById(id));
const show = (words, canConnect = false) => {
  status.hidden = words === '';
  message.textContent = words;
  button.hidden = !canConnect;
};

function connect() {
  show('Connecting…');
  let rfb, isConnected = false;
  try {
    rfb = new RFB(screen, address(), { shared: settings.shared });
  } catch (error) {
    show(`Cannot connect: ${error.message}`, true);
    return;
  }
  rfb.viewOnly = settings.viewOnly;
  rfb.scaleViewport = settings.resize === 'scale';
  rfb.resizeSession = settings.resize === 'remote';
  rfb.clipViewport = flag('view_clip', false);
  rfb.showDotCursor = settings.showDot;
  rfb.qualityLevel = settings.quality;
  rfb.compressionLevel = settings.compression;
  rfb.addEventListener('connect', () => {
    isConnected = true;
    show('');
    rfb.focus();
  });
  rfb.addEventListener('desktopname', (event) => { document.title = event.detail.name; });
  rfb.addEventListener('disconnect', (event) => {
    const why = isConnected ? 'Disconnected.' : 'Cannot connect: the link may be over, or may not be for this session.';
    if (isConnected && !event.detail.clean && settings.reconnect) {
      show('Connecting again…');
      setTimeout(connect, settings.reconnectDelay);
    } else {
      show(why, true);
    }
  });
  // For whoever embeds this page and looks into it, as noVNC's own has it.
  window.rfb = rfb;
}

button.textContent = 'Connect';
button.addEventListener('click', connect);
if (settings.autoconnect) connect(); else show('A session over VNC.', true);
