// Storing tasks, and giving them to workers.
import { weight } from '../../plugin/checks/queue.mjs';
import { attempt } from '../../plugin/fault.mjs';
import { milliseconds, moment } from '../../plugin/numbers.mjs';
import { after } from '../clock.mjs';
import { draw } from '../random.mjs';
import { never } from '../schema.mjs';
import { wait } from '../waiting.mjs';
import { decode, encode } from './record.mjs';
import { State } from './state.mjs';
import { within, write } from './work.mjs';

const record = 'SELECT record FROM tasks WHERE id = ?';

const mostBytes = 16 << 20; // of payloads in one answer to a claim
const forgotten = 16; // completed tasks of a queue, when one is stored

/**
 * @param {import('../space.mjs').Space} space
 * @param {import('../../plugin/checks/queue.mjs').QueueChecks} check
 * @param {number} maxClaim
 * @returns {Record<string, import('../../plugin/node.mjs').Handler>}
 */
export function taskCalls(space, check, maxClaim) {
  const { db } = space;
  return {
    enqueueTasks({ tasks }, call) {
      const op = 'queue: enqueue';
      check.batch(op, tasks);
      const results = tasks.map((/** @type {any} */ t) => attempt(() => check.task(op, t)));
      return write(space, call, (work, now) => ({
        results: tasks.map((/** @type {any} */ t, /** @type {number} */ i) => ({ id: t.id, ...(results[i] ?? enqueue(work, t, now)) })),
      }));
    },

    async claimTasks(claim, call) {
      check.claim('queue: claim', claim);
      const max = Math.min(claim.max.toNumber(), maxClaim);
      try {
        const tasks = await wait(db, call, {
          list: space.tasks,
          names: claim.queues,
          longest: milliseconds(claim.wait),
          look: (now) =>
            within(space, now, (work) => {
              const result = take(work, claim, max, now);
              return { done: result.length > 0, result, next: result.length > 0 ? never : due(work, claim.queues) };
            }),
        });
        return { tasks };
      } catch (error) {
        const { ended } = call;
        if (ended !== undefined && error === ended && ended.code !== 'CLOSED') return { tasks: [] }; // its caller gave up: no fault
        throw error;
      }
    },
  };

  /** @param {import('./work.mjs').Work} work @param {any} task @param {number} now */
  function enqueue(work, task, now) {
    const line = work.made(task.queue);
    line.forget(now, forgotten);
    const t = {
      task: task.id,
      record: encode(task),
      size: weight(task),
      caller: Number(task.callerId),
      priority: task.priority.toNumber(),
      max_lost: task.maxLost.toNumber(),
      unique_key: task.uniqueKey,
      unique_for: task.uniqueFor.toNumber(),
      retention: task.retention.toNumber(),
      accepted: now,
    };
    const other = line.standing(t, now);
    if (other !== undefined) {
      line.happened('duplicates');
      return { id: other, duplicate: true };
    }
    const at = moment(task.runAt);
    if (at <= now || at < line.due()) work.wake(line);
    line.insert(t);
    line.hold(t, now);
    line.schedule(t, Math.min(at, never - 1), now);
    line.happened('enqueued');
    return {};
  }

  /** Leases what can be had now. @param {import('./work.mjs').Work} work @param {any} claim @param {number} max @param {number} now */
  function take(work, claim, max, now) {
    for (const name of claim.queues) work.line(name)?.advance(now);
    const taken = [];
    let bytes = 0;
    for (const name of claim.queues) {
      const line = work.line(name);
      if (line === undefined || line.paused || !line.counts[State.pending]) continue;
      for (const t of line.pending(max - taken.length)) {
        if (taken.length > 0 && bytes + t.size > mostBytes) return taken;
        bytes += t.size;
        line.leave(t);
        [t.worker, t.token, t.ends] = [claim.worker, draw(), after(now, line.lease)];
        line.enter(t, State.active, now);
        taken.push({ ...decode(t, db.get(record, t.id).record, name), token: t.token, lease: line.lease });
      }
      if (taken.length >= max) break;
    }
    return taken;
  }

  /** When something will be due in one of the queues. @param {import('./work.mjs').Work} work @param {Buffer[]} queues */
  function due(work, queues) {
    return queues.reduce((next, name) => Math.min(next, work.line(name)?.due() ?? never), never);
  }
}
