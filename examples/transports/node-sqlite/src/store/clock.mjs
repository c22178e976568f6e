// The store's time: the clock of the machine on which this process runs, in whole milliseconds. All processes that share a
// file are on one machine, so they share the clock too.
import { never } from './schema.mjs';

const tick = 1; // the millisecond that has begun is not over, and what ends must not end early

export const now = () => Date.now();

/** When something ends that lasts for a duration in nanoseconds from now. */
export function after(/** @type {number} */ now, /** @type {number} */ duration) {
  return Math.min(now + Math.ceil(duration / 1e6) + tick, never - 1);
}

/** The end of a lifetime, of which 0 means that there is none. */
export function lifetime(/** @type {number} */ now, /** @type {number} */ ttl) {
  return ttl === 0 ? never : after(now, ttl);
}
