// Waiting for conditions. One patience for all tests: it only bounds a failure, a passing test never waits for it.

export const PATIENCE = 60_000;

/** Polls until `condition` returns something true, and returns that; `what` names it when it never does. */
export async function until(what, condition, patience = PATIENCE) {
  const deadline = Date.now() + patience;
  let last;
  for (let pause = 1; ; pause = Math.min(2 * pause, 25)) {
    try {
      const value = await condition();
      if (value) return value;
      last = value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`never happened: ${what} (last: ${last?.message ?? JSON.stringify(last)})`);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** What comes of a promise, which has to be within the same patience; `what` names it when it is not. */
export async function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`never happened: ${what}`)), PATIENCE); });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
