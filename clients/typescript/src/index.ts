// Glasshouse for programs: sessions of a server, their browser and their desktop.

import { launch, withBrowser } from './launch.js';

export { Glasshouse, type CreateOptions, type ListOptions } from './client.js';
export { GlasshouseError, ProblemError, SessionError, type FieldError } from './errors.js';
export type * as fleet from './generated/fleet.js';
export type * as computer from './generated/session.js';
export type { Change, NewShare, Share, Spec, View } from './generated/fleet.js';
export type { ClientOptions } from './http.js';
export { type Launched, type LaunchOptions } from './launch.js';
export { Session, type RunOptions, type ScreenshotOptions } from './session.js';
export { Files } from './files.js';
export { launch, withBrowser };
export default { launch, withBrowser };
