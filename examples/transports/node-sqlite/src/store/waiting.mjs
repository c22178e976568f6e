// Calls that wait: for a lock, for a task.
import { never } from './schema.mjs';
import { Waiter } from './waitlist.mjs';

/**
 * Looks until there is something, the wait is over, or the call ends; the last throws its fault.
 * @template T
 * @param {import('./database.mjs').Database} db
 * @param {import('../plugin/call.mjs').Call} call
 * @param {object} wait
 * @param {import('./waitlist.mjs').Waitlist} wait.list where to wait
 * @param {Buffer[]} wait.names for what
 * @param {number} wait.longest in milliseconds; 0: it only looks
 * @param {(now: number) => { done: boolean, result: T, next: number }} wait.look in a transaction; next is when to look again
 * even if nobody rings
 * @returns {Promise<T>}
 */
export async function wait(db, call, { list, names, longest, look }) {
  const waiter = new Waiter(names);
  const end = performance.now() + longest;
  try {
    for (;;) {
      const { done, result, pause } = await db.write(call, (now) => {
        const seen = look(now);
        // Before the transaction ends, so that what is committed with it already wakes us.
        if (!seen.done && longest > 0) list.join(waiter);
        return { ...seen, pause: seen.next === never ? Infinity : seen.next - now };
      });
      const left = end - performance.now();
      if (done || left <= 0) return result;
      await waiter.sleep(Math.min(pause, left), call.signal);
      if (call.signal.aborted) throw call.signal.reason;
    }
  } finally {
    list.leave(waiter);
  }
}
