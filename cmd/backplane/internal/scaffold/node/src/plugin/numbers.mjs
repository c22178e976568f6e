// Numbers of the protocol. A double holds 53 bits exactly and the protocol's integers have 64, so they arrive as Longs. What
// is a count or a duration of this life is a double from here on; what has to come back bit by bit (the moments of a task,
// counters) stays as it came.

/** @typedef {{ toNumber(): number, toString(): string, div(n: number): Long64, mod(n: number): Long64, isNegative(): boolean, isZero(): boolean }} Long64 */

const NANOSECONDS = 1e6; // in a millisecond

/** The greatest int64, as a double that the encoder takes for it. */
const MOST = 2 ** 63;

/** A count. Beyond 2^53 it is the nearest double. */
export const count = (/** @type {Long64} */ n) => n.toNumber();

/** A duration in milliseconds, rounded up, so that nothing ends early. */
export const milliseconds = (/** @type {Long64} */ duration) => Math.ceil(duration.toNumber() / NANOSECONDS);

/** A moment in milliseconds since the epoch, rounded up. It is exact, where a double would be off by 128 ns. */
export function moment(/** @type {Long64} */ at) {
  if (at.isNegative()) return 0;
  return at.div(NANOSECONDS).toNumber() + (at.mod(NANOSECONDS).isZero() ? 0 : 1);
}

/** A moment or duration in milliseconds as the protocol has it. */
export const nanoseconds = (/** @type {number} */ ms) => Math.min(ms * NANOSECONDS, MOST);

/** A 64-bit integer, exactly. */
export const exact = (/** @type {Long64} */ n) => BigInt(n.toString());

/** A duration as people read it. */
export function duration(/** @type {number} */ ns) {
  return Math.abs(ns) < NANOSECONDS ? `${ns} ns` : `${ns / NANOSECONDS} ms`;
}
