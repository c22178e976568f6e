// Locks.
import { attempt, Fault } from '../../plugin/fault.mjs';
import { milliseconds, nanoseconds } from '../../plugin/numbers.mjs';
import { fenceMemory } from '../capabilities.mjs';
import { after } from '../clock.mjs';
import { never } from '../schema.mjs';
import { wait } from '../waiting.mjs';
import { locked } from './guard.mjs';
import { list, pageOf } from './listing.mjs';

const find = 'SELECT holder, fence, ttl, ends FROM locks WHERE space = ? AND name = ?';
const put = `INSERT INTO locks (space, name, holder, fence, ttl, ends, forgotten) VALUES (?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (space, name) DO UPDATE SET holder = excluded.holder, fence = excluded.fence, ttl = excluded.ttl,
    ends = excluded.ends, forgotten = excluded.forgotten`;

const op = { acquire: 'cache: acquire', renew: 'cache: renew', release: 'cache: release', held: 'cache: held' };

/**
 * @param {import('../space.mjs').Space} space
 * @param {import('../../plugin/checks/cache.mjs').CacheChecks} check
 * @returns {Record<string, import('../../plugin/node.mjs').Handler>}
 */
export function lockCalls(space, check) {
  const { db } = space;
  return {
    // It waits only while no lock of the call could be taken: leases that were given are not kept from their holder for the
    // sake of others.
    async acquireLocks({ claims }, call) {
      check.batch(op.acquire, claims);
      const refused = claims.map((/** @type {any} */ c) => /** @type {any} */ (attempt(() => check.claim(op.acquire, c))));
      const waits = claims.map((/** @type {any} */ c, /** @type {number} */ i) => (refused[i] ? 0 : milliseconds(c.wait)));
      const results = await wait(db, call, {
        list: space.locks,
        names: claims.map((/** @type {any} */ c) => c.lock),
        longest: waits.length === 0 ? 0 : Math.min(...waits),
        look: (now) => {
          let done = claims.length === 0;
          let next = never;
          const result = claims.map((/** @type {any} */ c, /** @type {number} */ i) => {
            if (refused[i]) return refused[i];
            const lease = acquire(c, now);
            if (lease.other === undefined) done = true;
            else next = Math.min(next, lease.other);
            return lease.answer;
          });
          return { done, result, next };
        },
      });
      return { results };
    },

    renewLocks({ leases }, call) {
      check.batch(op.renew, leases);
      return db.write(call, (now) => ({ results: leases.map((/** @type {any} */ l) => ({ ...own(l), ...attempt(() => renew(l, now)) })) }));
    },

    releaseLocks({ leases }, call) {
      check.batch(op.release, leases);
      return db.write(call, (now) => ({ results: leases.map((/** @type {any} */ l) => attempt(() => release(l, now))) }));
    },

    listLocks(request) {
      const page = pageOf(request);
      check.page(op.held, page);
      return db.read((now) => {
        const { rows, next } = list(space, { table: 'locks', name: 'name', columns: ', holder, fence, ttl, ends' }, page, now);
        const leases = rows.map((row) => ({ lock: row.name, holder: row.holder, fence: row.fence, ttl: row.ttl, expires: nanoseconds(row.ends) }));
        return { leases, next };
      });
    },
  };

  /** @returns {{ answer: object, other?: number }} other: the end of the lease that is in the way */
  function acquire(/** @type {any} */ c, /** @type {number} */ now) {
    const lock = db.get(find, space.id, c.lock);
    if (lock !== undefined && lock.ends > now) {
      const fault = locked(op.acquire, c.lock, lock).toWire();
      return { answer: { fault, lock: c.lock, holder: lock.holder, expires: nanoseconds(lock.ends) }, other: lock.ends };
    }
    // Fences begin at the time of day, in microseconds, so that one which was forgotten does not come again.
    const fence = Math.max(now * 1000, (lock?.fence ?? 0) + 1);
    const ttl = c.ttl.toNumber();
    const ends = keep(c.lock, c.holder, fence, ttl, now);
    return { answer: { lock: c.lock, holder: c.holder, fence, ttl: c.ttl, expires: nanoseconds(ends) } };
  }

  /** Gives a lease from now on. @param {Buffer} name @param {Buffer} holder @param {number} fence @param {number} ttl @param {number} now */
  function keep(name, holder, fence, ttl, now) {
    const ends = after(now, ttl);
    db.run(put, space.id, name, holder, fence, ttl, ends, after(ends, fenceMemory));
    return ends;
  }

  /** The lock as l says that it is held. A fence of 0 is not compared. */
  function holding(/** @type {string} */ op, /** @type {any} */ l, /** @type {number} */ now) {
    const lock = db.get(find, space.id, l.lock);
    const live = lock !== undefined && lock.ends > now;
    if (live && lock.holder.equals(l.holder) && (l.fence.isZero() || l.fence.toNumber() === lock.fence)) return lock;
    const why = live ? 'the lease has ended, and another has been given since' : 'the lease has ended; nobody has the lock now';
    throw new Fault('LEASE_LOST', why, { op, subject: l.lock });
  }

  function renew(/** @type {any} */ l, /** @type {number} */ now) {
    check.renewal(op.renew, l);
    const lock = holding(op.renew, l, now);
    const ends = keep(l.lock, lock.holder, lock.fence, l.ttl.toNumber(), now);
    if (ends < lock.ends) wake(l.lock); // who waits knows the old end
    return { fence: lock.fence, expires: nanoseconds(ends) };
  }

  function release(/** @type {any} */ l, /** @type {number} */ now) {
    check.lease(op.release, l);
    const lock = holding(op.release, l, now);
    db.run(put, space.id, l.lock, lock.holder, lock.fence, lock.ttl, 0, after(now, fenceMemory));
    wake(l.lock);
    return {};
  }

  function wake(/** @type {Buffer} */ lock) {
    db.committed(() => space.locks.wake(lock.toString('latin1')));
  }
}

/** What an answer to a lease repeats of it. */
const own = (/** @type {any} */ l) => ({ lock: l.lock, holder: l.holder, fence: l.fence, ttl: l.ttl });
