// Showing tasks.
import { Fault } from '../../plugin/fault.mjs';
import { nanoseconds } from '../../plugin/numbers.mjs';
import { never } from '../schema.mjs';
import { Line } from './line.mjs';
import { decode } from './record.mjs';
import { State, stateOf, wireOf } from './state.mjs';

const shown = `SELECT t.* FROM tasks t WHERE queue = @queue AND state = @state AND (rank, at, seq) > (@rank, @at, @seq)
  ORDER BY rank, at, seq LIMIT 1`;
const one = 'SELECT * FROM tasks WHERE queue = ? AND task = ?';

// A page of tasks ends after this many, or this many bytes of payloads and results.
const mostTasks = 1000;
const mostBytes = 4 << 20;

/**
 * @param {import('../space.mjs').Space} space
 * @param {import('../../plugin/checks/queue.mjs').QueueChecks} check
 * @returns {Record<string, import('../../plugin/node.mjs').Handler>}
 */
export function inspectCalls(space, check) {
  const { db } = space;
  return {
    // Pending tasks are shown as they stand in line, so by priority first. A cursor is the place of the last task.
    listTasks(request) {
      const op = 'queue: list';
      check.list(op, request);
      const state = stateOf(request.state);
      let place = parse(request.cursor);
      if (place === undefined) {
        throw new Fault('INVALID', 'that is no cursor of this listing; begin without one, and go on with next', { op, subject: request.queue });
      }
      const limit = Math.min(request.limit.toNumber() || mostTasks, mostTasks);
      return db.read((now) => {
        const line = Line.find(space, request.queue);
        const tasks = [];
        for (let bytes = 0; line !== undefined && tasks.length < limit && bytes <= mostBytes; ) {
          const row = db.get(shown, { queue: line.id, state, ...place });
          if (row === undefined) return { tasks };
          place = { rank: row.rank, at: row.at, seq: row.seq };
          if (state === State.completed && row.ends <= now) continue;
          bytes += row.size + (row.result?.length ?? 0);
          tasks.push(info(row, request.queue));
        }
        return line === undefined ? {} : { tasks, next: Buffer.from(`${place?.rank}.${place?.at}.${place?.seq}`) };
      });
    },

    findTask({ queue, id }) {
      const op = 'queue: find';
      check.name(op, queue);
      check.id(op, id);
      return db.read((now) => {
        const line = Line.find(space, queue);
        const row = line && db.get(one, line.id, id);
        if (row === undefined || (row.state === State.completed && row.ends <= now)) {
          throw new Fault('NOT_FOUND', `there is no such task in queue ${queue}`, { op, subject: id });
        }
        return { task: info(row, queue) };
      });
    },
  };
}

function info(/** @type {any} */ row, /** @type {Buffer} */ queue) {
  return {
    ...decode(row, row.record, queue),
    state: wireOf(row.state),
    since: nanoseconds(row.since),
    result: row.result ?? undefined,
    holder: row.worker ?? undefined,
    expires: row.state === State.active || row.state === State.completed ? nanoseconds(row.ends) : 0,
  };
}

function parse(/** @type {Buffer} */ cursor) {
  if (cursor.length === 0) return { rank: -never, at: 0, seq: 0 };
  const found = /^(-?\d{1,3})\.(\d{1,16})\.(\d{1,16})$/.exec(cursor.toString('latin1'));
  return found ? { rank: Number(found[1]), at: Number(found[2]), seq: Number(found[3]) } : undefined;
}
