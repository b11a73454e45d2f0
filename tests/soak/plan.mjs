// What happens to every session of a soak, made of a seed: the same seed is the same plan.

/** Numbers that look random (mulberry32): a function that gives one from 0 up to `below`. */
export function randomOf(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return (below) => Math.floor(next() * below);
}

/** How sessions end, and how many of a hundred. */
const FATES = {
  'deleted': 38, 'deleted while it is created': 8, 'deleted while it is frozen': 7, 'idle': 9, 'out of time': 7,
  'its process is killed': 11, 'its process is told to end': 4, 'its process 1 is killed': 4, 'one of its processes is killed': 8, 'its main program is killed': 4,
};

/** What is done with sessions; the second line needs a browser. */
const USES = ['screenshot', 'freeze and thaw', 'WebSocket', 'WebSocket cut off', 'program', 'thumbnail', 'log', 'look while frozen'];
const BROWSER_USES = ['navigation', 'navigation', 'screenshot', 'freeze and thaw', 'WebSocket', 'viewer'];

/** One in so many is Chromium; the others are a bare desktop. */
const CHROMIUM = 8;
/** Sessions for each time that the server is killed. All of that is in the first half, so that the second shows one server's memory. */
const PER_KILL = 60;

function weighted(random, weights) {
  let left = random(Object.values(weights).reduce((sum, weight) => sum + weight));
  return Object.entries(weights).find(([, weight]) => (left -= weight) < 0)[0];
}

/**
 * The plan: each session's kind, uses, fate and a seed for the rest; and before which sessions the server is killed, and how many
 * milliseconds later.
 */
export function planOf(seed, count) {
  const random = randomOf(seed);
  const sessions = Array.from({ length: count }, (_, number) => {
    const isBrowser = number % CHROMIUM === 1;
    const uses = isBrowser ? BROWSER_USES : USES;
    const fate = isBrowser && random(3) === 0 ? 'its main program is killed' : weighted(random, FATES);
    return {
      number, isBrowser, fate,
      // Of the pool's shape, or started for itself.
      isWarm: isBrowser && random(2) === 0,
      uses: fate === 'deleted while it is created' ? [] : Array.from({ length: 1 + random(2) }, () => uses[random(uses.length)]),
      seed: random(2 ** 31),
    };
  });
  // At least one viewer and one navigation, however short the run is.
  const first = sessions.filter(({ isBrowser, fate }) => isBrowser && fate !== 'deleted while it is created')[0];
  if (first) first.uses = ['navigation', 'viewer'];
  const times = Math.max(1, Math.round(count / PER_KILL));
  const kills = Array.from({ length: times }, (_, index) => (
    { before: Math.floor(((index + 0.3 + random(50) / 100) * count * 0.5) / times), after: random(400) }
  ));
  return { sessions, kills };
}
