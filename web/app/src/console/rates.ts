import type { Usage } from '@glasshouse/client';

/** What a session uses at a time. */
export interface Rates {
  /** Processors, 1 being one of them whole; null where it is not counted, or not known yet. */
  cpu: number | null;
  memory: number | null;
  /** Bytes a second to all viewers; null before the second look. */
  sent: number | null;
  viewers: number;
}

export interface Look {
  /** Milliseconds. */
  at: number;
  usage: Usage;
}

/** Rates between two looks. Counters that went back (a viewer left) give 0, not less. */
export function rates(before: Look | null, now: Look): Rates {
  const seconds = before ? (now.at - before.at) / 1000 : 0;
  const grown = (from: number | null | undefined, to: number | null): number | null =>
    from === null || from === undefined || to === null || seconds <= 0 ? null : Math.max(0, to - from) / seconds;
  return {
    cpu: grown(before?.usage.cpu_seconds, now.usage.cpu_seconds),
    memory: now.usage.memory_bytes,
    sent: grown(before?.usage.sent_bytes, now.usage.sent_bytes),
    viewers: now.usage.viewers,
  };
}
