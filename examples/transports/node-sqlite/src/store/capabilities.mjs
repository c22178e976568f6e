// What this transport declares, and checks. Durations are nanoseconds, as in the protocol.
const millisecond = 1e6;
const minute = 60_000 * millisecond;
const hour = 60 * minute;

/** How long a lock's fence is known after its release. */
export const fenceMemory = 24 * hour;

export const cache = {
  maxKey: 1024,
  maxValue: 8 << 20,
  maxBatch: 10_000,
  minTtl: millisecond,
  granularity: millisecond, // the clock's
  expiryDelay: 2 * millisecond, // what is written late in a millisecond gets the whole of its last one
  fenceMemory,
  evicts: false,
  persistent: true,
  watcher: true,
  lists: true,
  holders: true,
};

/** How long an ID that a caller chose is known after its task is gone. */
export const idMemory = 5 * minute;
/** How long the last answer to a worker's settlements is kept. */
export const answerMemory = 10 * minute;
/** The lease of a queue for which none was configured. */
export const defaultLease = minute / 2;

export const queue = {
  maxPayload: 1 << 20,
  maxBatch: 10_000,
  maxClaim: 1000,
  maxName: 512,
  minLease: millisecond,
  granularity: millisecond,
  lateness: 500 * millisecond, // what another process did is looked for ten times a second
  idMemory,
  maxPriority: 9,
  persistent: true,
  admin: true,
};
