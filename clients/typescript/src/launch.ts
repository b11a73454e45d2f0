// A session with a Playwright browser on it, in one step.

import type { Browser, BrowserContext, BrowserType, Page } from 'playwright-core';
import { Glasshouse, type CreateOptions } from './client.js';
import type { Spec } from './generated/fleet.js';
import type { ClientOptions } from './http.js';
import type { Session } from './session.js';

/** What the session is to be, who asks, and how long to wait. */
export interface LaunchOptions extends Spec, ClientOptions, CreateOptions {
  /** Playwright's `chromium`; that of `playwright-core`, if not said. */
  playwright?: Pick<BrowserType, 'connectOverCDP'> | undefined;
}

/** A session that is driven. */
export interface Launched extends AsyncDisposable {
  session: Session;
  browser: Browser;
  /** The context that people see. */
  context: BrowserContext;
  /** The page that people see. */
  page: Page;
  /** Ends the session. `browser.close()` and `await using` do as well. */
  close(): Promise<void>;
}

/** Seconds without any connection after which the server ends a session whose program was killed. */
const ORPHANED = 60;

/** Creates a session and connects Playwright to its browser; whoever closes that ends the session. */
export async function launch(options: LaunchOptions = {}): Promise<Launched> {
  const { server, token, patience, wait, queue, idempotencyKey, signal, playwright, ...spec } = options;
  const client = new Glasshouse({ server, token, patience });
  const session = await client.create({ idle_timeout_seconds: ORPHANED, ...spec }, { wait, queue, idempotencyKey, signal });
  let browser: Browser | undefined;
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => closing ??= (async () => {
    try {
      await browser?.close();
    } finally {
      await session.delete();
    }
  })();
  try {
    browser = await session.connect({ playwright });
    // Should the server not answer any more, the session ends by its time-out.
    browser.once('disconnected', () => { close().catch(() => {}); });
    const context = browser.contexts()[0] ?? await browser.newContext();
    const page = context.pages()[0] ?? await context.newPage();
    return { session, browser, context, page, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close().catch(() => {});
    throw error;
  }
}

/** The same for as long as some work takes; the session ends with it, also when it fails. */
export async function withBrowser<T>(options: LaunchOptions, work: (launched: Launched) => Promise<T>): Promise<T> {
  const launched = await launch(options);
  try {
    return await work(launched);
  } finally {
    await launched.close();
  }
}
