// What an operator asks of a queue, and does to its tasks.
import { attempt, Fault } from '../../plugin/fault.mjs';
import { nanoseconds } from '../../plugin/numbers.mjs';
import { defaultLease } from '../capabilities.mjs';
import { Line } from './line.mjs';
import { nameOf, State } from './state.mjs';
import { write } from './work.mjs';

/**
 * @param {import('../space.mjs').Space} space
 * @param {import('../../plugin/checks/queue.mjs').QueueChecks} check
 * @returns {Record<string, import('../../plugin/node.mjs').Handler>}
 */
export function adminCalls(space, check) {
  const { db } = space;
  return {
    listQueues() {
      return db.read(() => {
        const lines = db.all('SELECT * FROM queues WHERE space = ? ORDER BY name', space.id).map((row) => new Line(space, row));
        return { queues: lines.filter((line) => line.used).map((line) => line.name) };
      });
    },

    countQueue({ queue }, call) {
      check.name('queue: stats', queue);
      return write(space, call, (work, now) => {
        const line = work.line(queue);
        if (line === undefined) return {};
        line.forget(now);
        /** @type {Record<string, any>} */
        const counted = { paused: line.paused, totals: line.totals, oldestPending: 0 };
        for (const [name, state] of Object.entries(State)) counted[name] = line.counts[state] ?? 0;
        const [next] = line.pending(1);
        if (next) counted.oldestPending = nanoseconds(Math.max(0, now - next.accepted));
        return counted;
      });
    },

    pauseQueue({ queue }, call) {
      check.name('queue: pause', queue);
      return write(space, call, (work) => {
        work.made(queue).paused = true;
        return {};
      });
    },

    resumeQueue({ queue }, call) {
      check.name('queue: resume', queue);
      return write(space, call, (work) => {
        const line = work.line(queue);
        if (line === undefined) return {};
        line.paused = false;
        work.wake(line);
        return {};
      });
    },

    configureQueue(request, call) {
      check.properties('queue: configure', request);
      return write(space, call, (work) => {
        const line = work.made(request.queue);
        line.lease = request.properties?.lease.toNumber() || defaultLease;
        line.configured = true;
        return {};
      });
    },

    readQueue({ queue }) {
      check.name('queue: properties', queue);
      return db.read(() => ({ properties: { lease: Line.find(space, queue)?.lease ?? defaultLease } }));
    },

    removeTasks: each('queue: remove', (line, t, now, refuse) => {
      if (t.state === State.active) refuse('the task is active; cancel it, and remove it when it has ended');
      line.drop(t, now);
    }),

    requeueTasks: each('queue: requeue', (line, t, now, refuse, work) => {
      if (t.state === State.pending || t.state === State.active) refuse(`the task is ${nameOf(t.state)} already`);
      if (t.state !== State.scheduled) {
        if (!line.hold(t, now)) refuse(`another task holds the unique key ${JSON.stringify(t.unique_key.toString())}`);
        t.attempts = 0;
        t.lost = 0;
      }
      line.leave(t);
      t.run_at = now;
      line.queue(t, now);
      work.wake(line);
    }),

    cancelTasks: each('queue: cancel', (line, t, now, refuse) => {
      if (t.state === State.scheduled || t.state === State.pending) line.end(t, State.cancelled, now);
      else if (t.state === State.active) db.run('UPDATE tasks SET cancel = 1 WHERE id = ?', t.id);
      else refuse(`the task has ended: it is ${nameOf(t.state)}`);
    }),
  };

  /**
   * Something that is done to tasks of one queue by their IDs, each with its own fault.
   * @param {string} op
   * @param {(line: Line, t: any, now: number, refuse: (why: string) => never, work: import('./work.mjs').Work) => void} does
   * @returns {import('../../plugin/node.mjs').Handler}
   */
  function each(op, does) {
    return ({ queue, ids }, call) => {
      check.name(op, queue);
      check.batch(op, ids);
      return write(space, call, (work, now) => {
        const line = work.line(queue);
        const one = (/** @type {Buffer} */ id) => {
          check.id(op, id);
          const t = line?.find(id, now);
          const at = { op, subject: id };
          if (line === undefined || t === undefined) throw new Fault('NOT_FOUND', `there is no such task in queue ${queue}`, at);
          const refuse = (/** @type {string} */ why) => {
            throw new Fault('CONFLICT', why, at);
          };
          does(line, t, now, refuse, work);
          return {};
        };
        return { results: ids.map((/** @type {Buffer} */ id) => attempt(() => one(id))) };
      });
    };
  }
}
