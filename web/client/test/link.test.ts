import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Link, backoff } from '../src/link.ts';

let opens: number;
let closes: boolean[];
let link: Link;
beforeEach(() => {
  vi.useFakeTimers();
  opens = 0;
  closes = [];
  link = new Link({
    open: () => void opens++,
    close: (clean) => void closes.push(clean),
    changed: () => {},
    now: () => Date.now(),
    setTimeout: (callback, ms) => setTimeout(callback, ms) as unknown as number,
    clearTimeout: (id) => clearTimeout(id),
  });
});
afterEach(() => vi.useRealTimers());

it('waits from a quarter second to five', () => {
  expect([0, 1, 2, 3, 4, 5, 20].map(backoff)).toEqual([250, 500, 1000, 2000, 4000, 5000, 5000]);
});

it('opens again by itself, later and later, and starts over once it was open', () => {
  link.start();
  for (const delay of [250, 500, 1000]) {
    link.closed();
    expect(link.state).toMatchObject({ state: 'waiting', retryAt: Date.now() + delay });
    const before = opens;
    vi.advanceTimersByTime(delay - 1);
    expect(opens).toBe(before);
    vi.advanceTimersByTime(1);
    expect(opens).toBe(before + 1);
  }
  link.opened();
  link.closed();
  expect(link.state).toMatchObject({ state: 'waiting', attempt: 1, retryAt: Date.now() + 250 });
});

it('does not wait when the network is back', () => {
  link.start();
  for (let i = 0; i < 6; i++) {
    link.closed();
    link.hurry();
  }
  expect(opens).toBe(7);
  link.opened();
  link.hurry();
  expect(opens).toBe(7);
});

it('gives up on a socket that does not open or says nothing, and keeps the grace', () => {
  link.start();
  vi.advanceTimersByTime(6000);
  expect(link.state.state).toBe('waiting');
  vi.advanceTimersByTime(250);
  link.opened();
  vi.advanceTimersByTime(12_000);
  link.message();
  vi.advanceTimersByTime(12_000);
  expect(link.state.state).toBe('open');
  vi.advanceTimersByTime(1000);
  expect(link.state.state).toBe('waiting');
  expect(closes).toEqual([false, false]);
});

it.each([
  ['session deleted', 'kicked'], ['session disconnected', 'kicked'], ['connection replaced', 'asleep'], ['connection shutdown', 'ended'], ['session not found', 'signed-out'], ['something new', 'kicked'],
])('%s: %s, and no more tries', (message, why) => {
  link.start();
  link.opened();
  link.disconnected(message);
  link.closed();
  vi.advanceTimersByTime(60_000);
  link.hurry();
  expect(link.state).toEqual({ state: 'stopped', why, message });
  expect(opens).toBe(1);
  link.start();
  expect(opens).toBe(2);
});
