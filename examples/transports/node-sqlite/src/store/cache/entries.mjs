// Entries and counters.
import { attempt, Fault } from '../../plugin/fault.mjs';
import { exact, nanoseconds } from '../../plugin/numbers.mjs';
import { lifetime } from '../clock.mjs';
import { draw } from '../random.mjs';
import { never } from '../schema.mjs';
import { admits, conflict } from './guard.mjs';
import { Room } from './room.mjs';

const find = 'SELECT value, flags, revision, created, ends FROM entries WHERE space = ? AND key = ? AND ends > ?';
const look = 'SELECT revision FROM entries WHERE space = ? AND key = ? AND ends > ?';
const put = `INSERT INTO entries (space, key, value, flags, revision, created, ends) VALUES (?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, flags = excluded.flags, revision = excluded.revision,
    created = excluded.created, ends = excluded.ends`;
const remove = 'DELETE FROM entries WHERE space = ? AND key = ?';
const prolong = 'UPDATE entries SET ends = ? WHERE space = ? AND key = ? AND ends > ?';

const least = -(2n ** 63n);
const most = 2n ** 63n - 1n;

/**
 * @param {import('../space.mjs').Space} space
 * @param {import('../../plugin/checks/cache.mjs').CacheChecks} check
 * @returns {Record<string, import('../../plugin/node.mjs').Handler>}
 */
export function entryCalls(space, check) {
  const { db } = space;
  return {
    getEntries({ reads }) {
      const op = 'cache: get';
      check.batch(op, reads);
      return db.read((now) => {
        const room = new Room();
        return { results: reads.map((/** @type {any} */ r) => attempt(() => get(op, r, now, room))) };
      });
    },

    setEntries({ writes }, call) {
      const op = 'cache: set';
      check.batch(op, writes);
      return db.write(call, (now) => ({ results: writes.map((/** @type {any} */ w) => attempt(() => set(op, w, now))) }));
    },

    deleteEntries({ removals }, call) {
      const op = 'cache: delete';
      check.batch(op, removals);
      return db.write(call, (now) => ({ results: removals.map((/** @type {any} */ r) => attempt(() => del(op, r, now))) }));
    },

    touchEntries({ lifetimes }, call) {
      const op = 'cache: touch';
      check.batch(op, lifetimes);
      return db.write(call, (now) => ({ results: lifetimes.map((/** @type {any} */ l) => attempt(() => touch(op, l, now))) }));
    },

    addCounters({ increments }, call) {
      const op = 'cache: add';
      check.batch(op, increments);
      return db.write(call, (now) => ({ results: increments.map((/** @type {any} */ i) => attempt(() => add(op, i, now))) }));
    },
  };

  function get(/** @type {string} */ op, /** @type {any} */ r, /** @type {number} */ now, /** @type {Room} */ room) {
    check.read(op, r);
    admits(space, now, r.guard, op, r.key);
    const found = db.get(find, space.id, r.key, now);
    if (found === undefined) return {};
    room.take(found.value.length);
    return {
      found: true,
      value: found.value,
      flags: found.flags,
      revision: found.revision,
      created: nanoseconds(found.created),
      expires: r.expiry && found.ends !== never ? nanoseconds(found.ends) : 0,
    };
  }

  function set(/** @type {string} */ op, /** @type {any} */ w, /** @type {number} */ now) {
    check.write(op, w);
    admits(space, now, w.guard, op, w.key);
    if (w.condition !== 'CONDITION_UNSPECIFIED') {
      const found = db.get(look, space.id, w.key, now);
      const failed = holds(w, found, op);
      if (failed) return { fault: failed.toWire(), revision: found?.revision };
    }
    const revision = draw();
    db.run(put, space.id, w.key, w.value, w.flags & 0xff, revision, now, lifetime(now, w.ttl.toNumber()));
    space.changed(w.key);
    return { revision };
  }

  function del(/** @type {string} */ op, /** @type {any} */ r, /** @type {number} */ now) {
    check.removal(op, r);
    admits(space, now, r.guard, op, r.key);
    const found = db.get(look, space.id, r.key, now);
    const failed = holds(r, found, op);
    if (failed) return { fault: failed.toWire(), existed: found !== undefined };
    if (found === undefined) return { existed: false };
    db.run(remove, space.id, r.key);
    space.changed(r.key, true);
    return { existed: true };
  }

  function touch(/** @type {string} */ op, /** @type {any} */ l, /** @type {number} */ now) {
    check.lifetime(op, l);
    admits(space, now, l.guard, op, l.key);
    const { changes } = db.run(prolong, lifetime(now, l.ttl.toNumber()), space.id, l.key, now);
    if (changes === 0) throw new Fault('NOT_FOUND', 'there is no such key', { op, subject: l.key });
    space.changed(l.key);
    return {};
  }

  function add(/** @type {string} */ op, /** @type {any} */ i, /** @type {number} */ now) {
    check.lifetime(op, i);
    admits(space, now, i.guard, op, i.key);
    const found = db.get(find, space.id, i.key, now);
    const before = found === undefined ? 0n : integer(found.value);
    if (before === undefined) {
      throw new Fault('INVALID', 'the value is not a whole number in decimal text of at most 64 bits', { op, subject: i.key });
    }
    const value = before + exact(i.delta);
    if (value < least || value > most) {
      throw new Fault('EXHAUSTED', 'the counter would leave the range of 64 bits; it is unchanged', { op, subject: i.key });
    }
    const revision = draw();
    const ends = found === undefined ? lifetime(now, i.ttl.toNumber()) : found.ends;
    db.run(put, space.id, i.key, Buffer.from(`${value}`), found?.flags ?? 0, revision, now, ends);
    space.changed(i.key);
    return { value: `${value}`, revision };
  }
}

/** Why a condition does not hold for what was found, or undefined. */
function holds(/** @type {any} */ element, /** @type {{ revision: Buffer } | undefined} */ found, /** @type {string} */ op) {
  switch (element.condition) {
    case 'CONDITION_ABSENT':
      return found && conflict(op, element.key, 'the key is there already');
    case 'CONDITION_PRESENT':
      return found ? undefined : conflict(op, element.key, 'the key is not there');
    case 'CONDITION_REVISION':
      if (!found) return conflict(op, element.key, 'the key is not there');
      return found.revision.equals(element.revision) ? undefined : conflict(op, element.key, 'the entry has changed: it is at another revision');
    case 'CONDITION_UNSPECIFIED':
      return undefined;
  }
  return new Fault('UNSUPPORTED', `the condition ${element.condition} is not known; the plugin is too old`, { op, subject: element.key });
}

/** Reads a counter: only the form that adding itself writes, so that every transport takes the same texts. */
function integer(/** @type {Buffer} */ value) {
  if (value.length > 20) return undefined;
  const text = value.toString('latin1');
  if (!/^(0|-?[1-9]\d*)$/.test(text)) return undefined;
  const n = BigInt(text);
  return n < least || n > most ? undefined : n;
}
