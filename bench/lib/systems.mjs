// The systems that are compared: each starts on its own desktop and gives the address of its viewer's page.

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Child, freePort, scratch, until } from './process.mjs';
import { Desktop, WIDTH, HEIGHT, reachable } from './desktop.mjs';

const run = promisify(execFile);
const CACHE = join(import.meta.dirname, '..', '..', 'target', 'bench');
const SELKIES = '2.1.0';

/** noVNC from Debian on Xvnc's own RFB server, through websockify. */
export class NoVnc {
  name = 'noVNC';
  selector = 'canvas';

  async start(url) {
    this.desktop = await Desktop.start(url);
    const port = await freePort();
    const log = join(scratch('novnc'), 'log');
    this.relay = new Child(['websockify', '--web', '/usr/share/novnc', `127.0.0.1:${port}`, `127.0.0.1:${this.desktop.rfbPort}`], { log });
    await until('websockify', () => {
      if (!this.relay.running) throw new Error(`websockify ended: ${this.relay.tail()}`);
      return reachable(port);
    });
    this.address = `http://127.0.0.1:${port}/vnc_lite.html?host=127.0.0.1&port=${port}&path=websockify`;
  }

  async viewerUrl() { return this.address; }

  async stop() {
    await this.relay?.stop();
    await this.desktop?.stop();
  }
}

/** Selkies from PyPI: WebSocket and WebCodecs, its default, at 60 frames a second. */
export class Selkies {
  name = `Selkies ${SELKIES}`;
  selector = 'video,canvas';

  static async install() {
    const folder = join(CACHE, `selkies-${SELKIES}`);
    const program = join(folder, 'bin', 'selkies');
    if (!existsSync(join(folder, 'complete'))) {
      mkdirSync(CACHE, { recursive: true });
      await run('/usr/bin/python3', ['-m', 'venv', '--clear', folder]);
      await run(join(folder, 'bin', 'pip'), ['install', '-q', '--disable-pip-version-check', `selkies==${SELKIES}`], { maxBuffer: 1 << 24 });
      mkdirSync(join(folder, 'complete'));
    }
    return program;
  }

  async start(url) {
    const program = await Selkies.install();
    this.desktop = await Desktop.start(url);
    const port = await freePort();
    const home = scratch('selkies', { unprivileged: true });
    // As the X server's own user: MIT-SHM segments of another user are refused by the X server. It raises its
    // capture threads' priority where it may.
    this.server = new Child([program, '--addr=127.0.0.1', `--port=${port}`, '--mode=websockets', '--enable-basic-auth=false', '--enable-https=false',
      '--audio-enabled=false', '--microphone-enabled=false', '--gamepad-enabled=false', '--manual-resolution=true', `--manual-width=${WIDTH}`,
      `--manual-height=${HEIGHT}`, '--framerate=60',
    ], { env: { ...this.desktop.env, HOME: home, XDG_RUNTIME_DIR: home }, cwd: home, log: join(home, 'log'), unprivileged: true, mayRaisePriority: true });
    await until('Selkies', () => {
      if (!this.server.running) throw new Error(`Selkies ended: ${this.server.tail()}`);
      return reachable(port);
    }, { timeout: 30000, every: 100 });
    this.address = `http://127.0.0.1:${port}/`;
  }

  async viewerUrl() { return this.address; }

  async stop() {
    await this.server?.stop();
    await this.desktop?.stop();
  }
}

/** The flip page itself in the viewer's browser: the floor that no remote desktop can go below. */
export class Local {
  name = 'local page';
  selector = 'canvas';

  async start(url) { this.address = url.replace('flip.html', 'local.html'); }
  async viewerUrl() { return this.address; }
  async stop() {}
}
