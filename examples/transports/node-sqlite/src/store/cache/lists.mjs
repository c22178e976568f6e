// Lists.
import { attempt } from '../../plugin/fault.mjs';
import { after } from '../clock.mjs';
import { never } from '../schema.mjs';
import { admits } from './guard.mjs';
import { list, pageOf } from './listing.mjs';
import { Room } from './room.mjs';

const find = 'SELECT id, front, back FROM lists WHERE space = ? AND name = ? AND ends > ?';
const make = 'INSERT INTO lists (space, name, front, back, ends) VALUES (?, ?, 0, 0, ?)';
const drop = 'DELETE FROM lists WHERE space = ? AND name = ?';
const bounds = 'UPDATE lists SET front = ?, back = ? WHERE id = ?';
const put = 'INSERT INTO list_values (list, place, value) VALUES (?, ?, ?)';
const sizes = (/** @type {string} */ order) =>
  `SELECT place, length(value) AS size FROM list_values WHERE list = ? AND place >= ? AND place < ? ORDER BY place ${order} LIMIT ?`;
const values = (/** @type {string} */ order) => `SELECT value FROM list_values WHERE list = ? AND place >= ? AND place < ? ORDER BY place ${order}`;
const take = 'DELETE FROM list_values WHERE list = ? AND place >= ? AND place < ?';

const mostValues = 100_000; // of one answer

/**
 * @param {import('../space.mjs').Space} space
 * @param {import('../../plugin/checks/cache.mjs').CacheChecks} check
 * @returns {Record<string, import('../../plugin/node.mjs').Handler>}
 */
export function listCalls(space, check) {
  const { db } = space;
  return {
    pushLists({ pushes }, call) {
      check.batch('cache: push', pushes);
      return db.write(call, (now) => ({ results: pushes.map((/** @type {any} */ p) => attempt(() => push(p, now))) }));
    },

    popLists({ pops }, call) {
      check.batch('cache: pop', pops);
      return db.write(call, (now) => {
        const room = new Room();
        return { results: pops.map((/** @type {any} */ p) => attempt(() => pop(p, now, room))) };
      });
    },

    rangeLists({ ranges }) {
      check.batch('cache: range', ranges);
      return db.read((now) => {
        const room = new Room();
        return { results: ranges.map((/** @type {any} */ r) => attempt(() => range(r, now, room))) };
      });
    },

    countLists({ reads }) {
      check.batch('cache: length', reads);
      return db.read((now) => ({ results: reads.map((/** @type {any} */ r) => attempt(() => count(r, now))) }));
    },

    dropLists({ removals }, call) {
      check.batch('cache: drop', removals);
      return db.write(call, (now) => ({
        results: removals.map((/** @type {any} */ r) =>
          attempt(() => {
            check.drop('cache: drop', r);
            admits(space, now, r.guard, 'cache: drop', r.key);
            const existed = live(r.key, now) !== undefined;
            db.run(drop, space.id, r.key);
            return { existed };
          }),
        ),
      }));
    },

    listLists(request) {
      const page = pageOf(request);
      check.page('cache: names', page);
      return db.read((now) => {
        const { rows, next } = list(space, { table: 'lists', name: 'name' }, page, now);
        return { names: rows.map((row) => row.name), next };
      });
    },
  };

  function live(/** @type {Buffer} */ name, /** @type {number} */ now) {
    return db.get(find, space.id, name, now);
  }

  function push(/** @type {any} */ p, /** @type {number} */ now) {
    check.push('cache: push', p);
    admits(space, now, p.guard, 'cache: push', p.list);
    let found = live(p.list, now);
    if (found === undefined) {
      db.run(drop, space.id, p.list); // one that has ended
      const id = db.run(make, space.id, p.list, never).lastInsertRowid;
      found = { id, front: 0, back: 0 };
    }
    if (!p.ttl.isZero()) db.run('UPDATE lists SET ends = ? WHERE id = ?', after(now, p.ttl.toNumber()), found.id);
    let { front, back } = found;
    for (const value of p.values) db.run(put, found.id, p.front ? --front : back++, value);
    db.run(bounds, front, back, found.id);
    return { length: back - front };
  }

  function pop(/** @type {any} */ p, /** @type {number} */ now, /** @type {Room} */ room) {
    check.pop('cache: pop', p);
    admits(space, now, p.guard, 'cache: pop', p.list);
    const found = live(p.list, now);
    if (found === undefined) return {};
    const n = fitting(found, found.front, p.max.toNumber(), p.back, room);
    const [from, to] = p.back ? [found.back - n, found.back] : [found.front, found.front + n];
    const popped = read(found.id, from, to, p.back);
    if (n === found.back - found.front) {
      db.run(drop, space.id, p.list);
    } else {
      db.run(take, found.id, from, to);
      db.run(bounds, p.back ? found.front : to, p.back ? from : found.back, found.id);
    }
    return { values: popped };
  }

  function range(/** @type {any} */ r, /** @type {number} */ now, /** @type {Room} */ room) {
    check.range('cache: range', r);
    admits(space, now, r.guard, 'cache: range', r.list);
    const found = live(r.list, now);
    const start = r.start.toNumber();
    if (found === undefined || start >= found.back - found.front) return {};
    const from = found.front + start;
    return { values: read(found.id, from, from + fitting(found, from, r.max.toNumber(), false, room), false) };
  }

  /** How many values of a list, from a place on or from the back, fit into an answer. One must. */
  function fitting(/** @type {any} */ found, /** @type {number} */ from, /** @type {number} */ max, /** @type {boolean} */ back, /** @type {Room} */ room) {
    const rows = db.all(sizes(back ? 'DESC' : 'ASC'), found.id, from, found.back, Math.min(max, mostValues));
    let n = 0;
    while (n < rows.length && (n === 0 || rows[n].size <= room.left)) room.take(rows[n++].size);
    return n;
  }

  function read(/** @type {number} */ id, /** @type {number} */ from, /** @type {number} */ to, /** @type {boolean} */ back) {
    return db.all(values(back ? 'DESC' : 'ASC'), id, from, to).map((row) => row.value);
  }

  function count(/** @type {any} */ r, /** @type {number} */ now) {
    check.read('cache: length', r);
    admits(space, now, r.guard, 'cache: length', r.key);
    const found = live(r.key, now);
    return { length: found === undefined ? 0 : found.back - found.front };
  }
}
