import { defineConfig } from 'vitest/config';

// The time-out only bounds a failure: the machine may be busy.
export default defineConfig({ test: { include: ['*/test/**/*.test.{ts,tsx}'], testTimeout: 60_000 } });
