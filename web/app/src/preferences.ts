import type { Scaling, VideoChoice } from '@glasshouse/client';

/** Local storage, or null where the browser forbids it. */
export const storage: Storage | null = (() => {
  try {
    return globalThis.localStorage;
  } catch {
    return null;
  }
})();

const key = (name: string): string => `glasshouse:${name}`;

export function load<T>(name: string, fallback: T): T {
  try {
    const text = storage?.getItem(key(name));
    return text ? (JSON.parse(text) as T) : fallback;
  } catch {
    return fallback;
  }
}

export function save(name: string, value: unknown): void {
  try {
    storage?.setItem(key(name), JSON.stringify(value));
  } catch {
    // A full or forbidden storage only means that the choice is not kept.
  }
}

/** What a person chose for the page, kept in this browser. */
export interface Preferences {
  scaling: Scaling;
  volume: number;
  followWindow: boolean;
  commandIsControl: boolean;
  /** A sound when a program asks for help. */
  askSound: boolean;
}

export const loadPreferences = (): Preferences => ({
  scaling: 'fit',
  volume: 1,
  followWindow: false,
  commandIsControl: true,
  askSound: true,
  ...load<Partial<Preferences>>('preferences', {}),
});

export const loadVideo = (): VideoChoice => ({ quality: 'auto', codec: 'auto', ...load<Partial<VideoChoice>>('video', {}) });

/** The name used last, or one to tell guests apart. */
export const guestName = (): string => load('name', '') || `Guest ${100 + Math.floor(Math.random() * 900)}`;
