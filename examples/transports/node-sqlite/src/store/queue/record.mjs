// Tasks as they are kept: the Task of the protocol, encoded, so that every field of it comes back as it was given, those of
// later versions too.
import { Fault } from '../../plugin/fault.mjs';
import { nanoseconds } from '../../plugin/numbers.mjs';
import { definition } from '../../plugin/protocol.mjs';

const Task = definition('backplane.transport.v1.Task');
const nothing = Buffer.alloc(0);

/** @returns {Buffer} a task without what happened to it */
export const encode = (/** @type {any} */ task) => Task.serialize({ ...task, attempts: 0, lost: 0, lastError: nothing });

/**
 * A task as it was given, with what happened to it since. One that cannot be decoded comes with a fault.
 * @param {any} row of tasks @param {Buffer} record @param {Buffer} queue
 */
export function decode(row, record, queue) {
  let task;
  try {
    task = Task.deserialize(record);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { fault: new Fault('CORRUPT', `the task's record cannot be decoded: ${why}`, { subject: row.task }).toWire(), task: { id: row.task, queue } };
  }
  task.attempts = row.attempts;
  task.lost = row.lost;
  task.lastError = row.error;
  if (row.run_at !== null) task.runAt = nanoseconds(row.run_at);
  return { task };
}

const mostError = 4 << 10;

/** What is kept of an error: 4 KiB, and of a text in UTF-8 only whole characters. */
export function cut(/** @type {Buffer} */ text) {
  if (text.length <= mostError) return text;
  let end = mostError;
  while (end > mostError - 4 && (text[end] & 0xc0) === 0x80) end--;
  return text.subarray(0, end);
}
