// The arguments of the queue, checked against what the transport declares.
import { Limits, nothing } from './limits.mjs';

const smaller = 'keep the bulk elsewhere (the cache, a file) and send a reference';

export class QueueChecks {
  /** @param {{ maxPayload: number, maxBatch: number, maxName: number, minLease: number, maxPriority: number }} limits as in QueueCapabilities */
  constructor(limits) {
    this.limits = limits;
  }

  /** The number of elements of a call. */
  batch(/** @type {string} */ op, /** @type {any[]} */ elements) {
    new Limits(op, nothing).batch(elements.length, this.limits.maxBatch);
  }

  name(/** @type {string} */ op, /** @type {Buffer} */ queue) {
    new Limits(op, queue).name("queue's name", queue, this.limits.maxName);
  }

  id(/** @type {string} */ op, /** @type {Buffer} */ id) {
    new Limits(op, id).name("task's ID", id, this.limits.maxName);
  }

  task(/** @type {string} */ op, /** @type {any} */ t) {
    const at = new Limits(op, t.id);
    const { maxName, maxPriority, maxPayload } = this.limits;
    at.name("task's ID", t.id, maxName);
    at.name("queue's name", t.queue, maxName);
    at.name("task's kind", t.kind, maxName);
    at.length('unique key', t.uniqueKey, maxName);
    at.atLeast('max_attempts', t.maxAttempts, 1);
    at.atLeast('max_lost', t.maxLost, 1);
    at.notNegative('timeout', t.timeout);
    at.notNegative('unique_for', t.uniqueFor);
    at.notNegative('retention', t.retention);
    const priority = t.priority.toNumber();
    if (priority < 0 || priority > maxPriority) at.refuse('INVALID', `the priority is ${priority}; it must be 0 (normal) to ${maxPriority}`);
    at.size('payload with headers', weight(t), maxPayload, smaller);
  }

  claim(/** @type {string} */ op, /** @type {any} */ c) {
    const at = new Limits(op, c.worker);
    at.name('worker', c.worker, this.limits.maxName);
    if (c.queues.length === 0) at.refuse('INVALID', 'there are no queues to claim from; name at least one');
    at.batch(c.queues.length, this.limits.maxBatch);
    at.atLeast('max', c.max, 1);
    at.notNegative('the wait', c.wait);
    for (const queue of c.queues) this.name(op, queue);
  }

  settlements(/** @type {string} */ op, /** @type {any} */ batch) {
    const at = new Limits(op, batch.worker);
    at.name('worker', batch.worker, this.limits.maxName);
    at.batch(batch.items.length, this.limits.maxBatch);
    if (batch.number.isZero()) at.refuse('INVALID', 'the batch has number 0; they count from 1');
  }

  settlement(/** @type {string} */ op, /** @type {any} */ s) {
    this.ref(op, s.ref);
    const at = new Limits(op, s.ref.id);
    if (typeof s.outcome !== 'string' || s.outcome === 'OUTCOME_UNSPECIFIED') at.refuse('INVALID', `the outcome ${s.outcome} is none`);
    at.notNegative('the delay', s.delay);
    at.size('result', s.result?.length ?? 0, this.limits.maxPayload, smaller);
  }

  /** A token that is empty is no error here: no lease has it. */
  ref(/** @type {string} */ op, /** @type {any} */ r) {
    if (r === null) new Limits(op, nothing).refuse('INVALID', 'there is no ref: it names the claim');
    this.id(op, r.id);
    this.name(op, r.queue);
  }

  list(/** @type {string} */ op, /** @type {any} */ l) {
    this.name(op, l.queue);
    const at = new Limits(op, l.queue);
    at.atLeast("the page's limit", l.limit, 0);
    if (typeof l.state !== 'string' || l.state === 'TASK_STATE_UNSPECIFIED') at.refuse('INVALID', `${l.state} is no state`);
  }

  properties(/** @type {string} */ op, /** @type {any} */ c) {
    this.name(op, c.queue);
    if (c.properties !== null) new Limits(op, c.queue).lifetime('lease', c.properties.lease, this.limits.minLease);
  }
}

/** The bytes of a task's payload and headers. */
export function weight(/** @type {any} */ task) {
  let size = task.payload?.length ?? 0;
  for (const header of task.headers) size += header.name.length + header.value.length;
  return size;
}
