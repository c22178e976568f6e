// One call on the queues of a namespace, in a transaction: the queues that it touches, and whom it wakes.
import { Line } from './line.mjs';

export class Work {
  /** @type {Map<string, Line | undefined>} */
  #lines = new Map();
  /** @type {Set<string>} */
  #woken = new Set();

  /** @param {import('../space.mjs').Space} space @param {number} now */
  constructor(space, now) {
    this.space = space;
    this.now = now;
  }

  /** A queue, or undefined when it was never used. */
  line(/** @type {Buffer} */ name) {
    const key = name.toString('latin1');
    if (!this.#lines.has(key)) this.#lines.set(key, Line.find(this.space, name));
    return this.#lines.get(key);
  }

  /** Finds or makes a queue. */
  made(/** @type {Buffer} */ name) {
    const line = this.line(name) ?? Line.make(this.space, name);
    this.#lines.set(name.toString('latin1'), line);
    return line;
  }

  /** Wakes who waits for tasks of a queue. */
  wake(/** @type {Line} */ line) {
    this.#woken.add(line.name.toString('latin1'));
  }

  save() {
    for (const line of this.#lines.values()) line?.save();
    if (this.#woken.size > 0) this.space.db.committed(() => this.#woken.forEach((name) => this.space.tasks.wake(name)));
  }
}

/**
 * Does a call.
 * @template T
 * @param {import('../space.mjs').Space} space @param {import('../../plugin/call.mjs').Call} call
 * @param {(work: Work, now: number) => T} does
 * @returns {Promise<T>}
 */
export function write(space, call, does) {
  return space.db.write(call, (now) => within(space, now, does));
}

/**
 * Does a call in the transaction that is under way.
 * @template T
 * @param {import('../space.mjs').Space} space @param {number} now @param {(work: Work, now: number) => T} does
 * @returns {T}
 */
export function within(space, now, does) {
  const work = new Work(space, now);
  const result = does(work, now);
  work.save();
  return result;
}
