// A plain desktop for the baselines: Xvnc, openbox and a full-screen Chromium, as an unprivileged user.

import { chownSync, mkdirSync, readFileSync, existsSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Child, UNPRIVILEGED, freePort, scratch, until } from './process.mjs';

export const WIDTH = 1280, HEIGHT = 720;

/** Flags of every remote Chromium of the baselines. It keeps its own sandbox. */
const CHROMIUM_FLAGS = [
  '--no-first-run', '--no-default-browser-check', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--disable-gpu', '--password-store=basic', '--disable-features=Translate,MediaRouter', '--disable-session-crashed-bubble', '--noerrdialogs',
  '--start-maximized', '--window-position=0,0', `--window-size=${WIDTH},${HEIGHT}`, '--kiosk',
];

export const CHROMIUM = ['/usr/lib/chromium/chromium', '/usr/bin/chromium'].find(existsSync);

/** An Xauthority file with one cookie for any display: family "wild", no address, no number. */
function authority(path) {
  const field = (bytes) => Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
  writeFileSync(path, Buffer.concat([
    Buffer.from([0xff, 0xff]), field(Buffer.alloc(0)), field(Buffer.alloc(0)), field(Buffer.from('MIT-MAGIC-COOKIE-1')), field(randomBytes(16)),
  ]), { mode: 0o600 });
}

export class Desktop {
  /** Starts a desktop that shows `url`. */
  static async start(url) {
    const desktop = new Desktop();
    await desktop.#start(url);
    return desktop;
  }

  async #start(url) {
    this.home = scratch('desktop', { unprivileged: true });
    this.xauthority = join(this.home, 'Xauthority');
    const runtime = join(this.home, 'run');
    mkdirSync(runtime, { mode: 0o700 });
    authority(this.xauthority);
    if (process.getuid() === 0) for (const path of [this.xauthority, runtime]) chownSync(path, UNPRIVILEGED, UNPRIVILEGED);
    this.rfbPort = await freePort();

    const numberFile = join(this.home, 'display');
    const base = { HOME: this.home, XDG_RUNTIME_DIR: runtime, XAUTHORITY: this.xauthority };
    const log = join(this.home, 'log');
    // The shell passes the display's number on through a file: Xvnc picks a free one itself.
    this.xserver = new Child(['sh', '-c', 'exec 3>"$1"; shift; exec "$@"', 'sh', numberFile,
      'Xvnc', '-displayfd', '3', '-geometry', `${WIDTH}x${HEIGHT}`, '-depth', '24', '-auth', this.xauthority, '-nolisten', 'tcp',
      '-rfbport', String(this.rfbPort), '-localhost', '-SecurityTypes', 'None', '-AlwaysShared', '-AcceptSetDesktopSize=0',
    ], { env: base, log, unprivileged: true });
    const number = await until('Xvnc', () => {
      if (!this.xserver.running) throw new Error(`Xvnc ended: ${this.xserver.tail()}`);
      return existsSync(numberFile) && /^\d+\n/.exec(readFileSync(numberFile, 'utf8'))?.[0].trim();
    });
    this.display = `:${number}`;
    this.env = { ...base, DISPLAY: this.display };
    this.manager = new Child(['openbox'], { env: this.env, log, unprivileged: true });
    this.browser = new Child([CHROMIUM, ...CHROMIUM_FLAGS, `--user-data-dir=${join(this.home, 'profile')}`, url], {
      env: this.env, log, unprivileged: true,
    });
    await until('RFB port', () => reachable(this.rfbPort));
  }

  async stop() {
    for (const child of [this.browser, this.manager, this.xserver]) await child?.stop();
  }
}

/** Whether something listens on a loopback port. */
export function reachable(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => { socket.destroy(); resolve(true); });
    socket.on('error', () => resolve(false));
  });
}
