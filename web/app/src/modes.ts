import type { ProgramsMode } from '@glasshouse/client';

/** When programs may act: the mode, its name, and what it means. */
export const MODES: [ProgramsMode, string, string][] = [
  ['together', 'Together with people', 'People and programs act as they like.'],
  ['person-first', 'When no person does', 'While somebody is in control, programs wait.'],
  ['watch-only', 'Never: they watch', 'Programs see the session and change nothing.'],
];
