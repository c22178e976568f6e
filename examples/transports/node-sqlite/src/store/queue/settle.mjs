// Ending leases, and making them longer.
import { attempt, Fault } from '../../plugin/fault.mjs';
import { exact } from '../../plugin/numbers.mjs';
import { definition } from '../../plugin/protocol.mjs';
import { answerMemory } from '../capabilities.mjs';
import { after } from '../clock.mjs';
import { cut } from './record.mjs';
import { State } from './state.mjs';
import { write } from './work.mjs';

const Result = definition('backplane.transport.v1.SettleTasksResult');

const last = 'SELECT number, answer FROM answers WHERE space = ? AND worker = ? AND ends > ?';
const keep = `INSERT INTO answers (space, worker, number, answer, ends) VALUES (?, ?, ?, ?, ?)
  ON CONFLICT (space, worker) DO UPDATE SET number = excluded.number, answer = excluded.answer, ends = excluded.ends`;

/**
 * @param {import('../space.mjs').Space} space
 * @param {import('../../plugin/checks/queue.mjs').QueueChecks} check
 * @returns {Record<string, import('../../plugin/node.mjs').Handler>}
 */
export function settleCalls(space, check) {
  const { db } = space;
  return {
    settleTasks(batch, call) {
      const op = 'queue: settle';
      check.settlements(op, batch);
      return write(space, call, (work, now) => {
        const before = db.get(last, space.id, batch.worker, now);
        if (before !== undefined && exact(batch.number) <= BigInt(before.number)) return repeat(op, batch, before);
        const answer = { results: batch.items.map((/** @type {any} */ s) => attempt(() => settle(op, work, s, now))) };
        db.run(keep, space.id, batch.worker, batch.number.toString(), Result.serialize(answer), after(now, answerMemory));
        return answer;
      });
    },

    extendTasks({ refs }, call) {
      const op = 'queue: extend';
      check.batch(op, refs);
      return write(space, call, (work, now) => ({ results: refs.map((/** @type {any} */ ref) => attempt(() => extend(op, work, ref, now))) }));
    },
  };

  /** @param {string} op @param {import('./work.mjs').Work} work @param {any} s @param {number} now */
  function settle(op, work, s, now) {
    check.settlement(op, s);
    const line = work.line(s.ref.queue);
    const t = leased(line, s.ref, now);
    if (line === undefined || t === undefined) {
      line?.happened('stale');
      throw leaseLost(op, s.ref);
    }
    const error = cut(s.error);
    const failed = s.outcome === 'OUTCOME_RETRY' || s.outcome === 'OUTCOME_DEAD';
    if (failed) t.attempts++;
    if (failed || (s.outcome === 'OUTCOME_SNOOZE' && error.length > 0)) t.error = error;

    if (s.outcome === 'OUTCOME_DONE') complete(line, t, s.result, now);
    else if (t.cancel) line.end(t, State.cancelled, now);
    else if (s.outcome === 'OUTCOME_DEAD') line.end(t, State.dead, now);
    else {
      giveBack(line, t, s, now);
      work.wake(line);
    }
    return {};
  }

  /** Ends a task well, and keeps it with its result where that is wanted. @param {import('./line.mjs').Line} line @param {any} t @param {Buffer | undefined} result @param {number} now */
  function complete(line, t, result, now) {
    line.happened('completed');
    if (t.retention === 0) return line.drop(t, now);
    line.leave(t);
    line.yield(t);
    t.ends = after(now, t.retention);
    line.enter(t, State.completed, now);
    db.run('UPDATE tasks SET result = ? WHERE id = ?', result ?? null, t.id);
  }

  /** Puts an active task where it will be claimed again. @param {import('./line.mjs').Line} line @param {any} t @param {any} s @param {number} now */
  function giveBack(line, t, s, now) {
    line.leave(t);
    if (s.outcome === 'OUTCOME_RELEASE') {
      line.happened('released');
      return line.enter(t, State.pending, now); // at its old turn, before all that came after it
    }
    line.happened(s.outcome === 'OUTCOME_RETRY' ? 'retried' : 'snoozed');
    t.run_at = s.delay.isZero() ? now : after(now, s.delay.toNumber());
    line.schedule(t, t.run_at, now);
  }

  /** @param {string} op @param {import('./work.mjs').Work} work @param {any} ref @param {number} now */
  function extend(op, work, ref, now) {
    check.ref(op, ref);
    const line = work.line(ref.queue);
    const t = leased(line, ref, now);
    if (line === undefined || t === undefined) throw leaseLost(op, ref);
    const ends = after(now, line.lease);
    if (ends < t.ends) work.wake(line); // the lease was configured shorter, and who waits knows the old end
    db.run('UPDATE tasks SET ends = ? WHERE id = ?', ends, t.id);
    if (!t.cancel) return {};
    const why = 'somebody asked to cancel the task; its lease was extended';
    return { fault: new Fault('CANCELED', why, { op, subject: ref.id }).toWire() };
  }
}

/**
 * The task under the claim that ref names. A lease that is over and was not taken back by a claim yet still counts: nobody else
 * has the task, and refusing would only run it again.
 * @param {import('./line.mjs').Line | undefined} line @param {any} ref @param {number} now
 */
function leased(line, ref, now) {
  const t = line?.find(ref.id, now);
  return t?.state === State.active && t.token.equals(ref.token) ? t : undefined;
}

function leaseLost(/** @type {string} */ op, /** @type {any} */ ref) {
  const why = 'the claim has ended: the task was settled, or its lease was lost and it was given to another; nothing was changed';
  return new Fault('LEASE_LOST', why, { op, subject: ref.id });
}

/** Answers a batch that is not newer than the last. @param {string} op @param {any} batch @param {{ number: string, answer: Buffer }} before */
function repeat(op, batch, before) {
  const at = { op, subject: batch.worker };
  if (batch.number.toString() !== before.number) {
    throw new Fault('CONFLICT', `batch ${batch.number} is old: the last one was ${before.number}`, at);
  }
  const answer = Result.deserialize(before.answer);
  if (answer.results.length !== batch.items.length) {
    throw new Fault('CONFLICT', `batch ${before.number} was another one, with ${answer.results.length} settlements`, at);
  }
  return answer;
}
