// Guards: what an operation on a key asks of the lock that has the key's own name.
import { Fault } from '../../plugin/fault.mjs';

const find = 'SELECT holder, fence, ends FROM locks WHERE space = ? AND name = ?';

/**
 * Throws why the lock of that name refuses an operation.
 * @param {import('../space.mjs').Space} space @param {number} now
 * @param {{ holder: Buffer, fence: import('../../plugin/numbers.mjs').Long64 } | null} guard
 * @param {string} op @param {Buffer} key
 */
export function admits(space, now, guard, op, key) {
  if (guard === null) return;
  const lock = space.db.get(find, space.id, key);
  if (lock === undefined) return;
  if (guard.holder.length > 0 && lock.ends > now && !lock.holder.equals(guard.holder)) throw locked(op, key, lock);
  const fence = guard.fence.toNumber();
  if (fence !== 0 && fence < lock.fence) {
    throw conflict(op, key, `fence ${guard.fence} is old: ${lock.fence} has been given for the lock since`);
  }
}

export function locked(/** @type {string} */ op, /** @type {Buffer} */ subject, /** @type {{ holder: Buffer, ends: number }} */ lock) {
  const who = JSON.stringify(lock.holder.toString());
  return new Fault('LOCKED', `the lock is held by ${who} until ${time(lock.ends)}`, { op, subject, retryable: true });
}

const latest = 8.64e15; // of a Date

const time = (/** @type {number} */ ms) => new Date(Math.min(ms, latest)).toISOString();

export const conflict = (/** @type {string} */ op, /** @type {Buffer} */ subject, /** @type {string} */ why) => new Fault('CONFLICT', why, { op, subject });
