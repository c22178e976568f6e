// One call of the host, as a handler sees it.
import { Fault } from './fault.mjs';

const longest = 2 ** 31 - 1; // of a timer in Node, in milliseconds: 24 days

export class Call {
  /** @type {AbortController | undefined} */
  #controller;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {Fault | undefined} */
  #ended;

  /** @param {number} budget how long the caller waits, in milliseconds; 0: as long as it takes */
  constructor(budget) {
    /** When the caller's patience ends, by performance.now(). */
    this.deadline = budget > 0 ? performance.now() + budget : Infinity;
  }

  /** The fault to answer when the caller does not wait any more, or undefined. */
  get ended() {
    if (this.#ended === undefined && performance.now() >= this.deadline) this.end(outOfTime());
    return this.#ended;
  }

  /**
   * A signal that ends with the call: only for handlers that wait, because it costs a timer. Its reason is the fault.
   * @returns {AbortSignal}
   */
  get signal() {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.ended !== undefined) {
        this.#controller.abort(this.ended);
      } else if (this.deadline < Infinity) {
        this.#watch();
      }
    }
    return this.#controller.signal;
  }

  /** Ends the call with the caller's patience, and not before: the host takes that for a lie. Timers may be early by a part of 1 ms. */
  #watch() {
    if (this.ended) return;
    const left = Math.min(Math.ceil(this.deadline - performance.now()), longest);
    this.#timer = setTimeout(() => this.#watch(), left);
  }

  /** Ends the call: nobody waits for it any more, or nobody may. The first reason counts. */
  end(/** @type {Fault} */ why) {
    this.#ended ??= why;
    this.release();
    this.#controller?.abort(this.#ended);
  }

  /** Gives the timer back, when the call is answered. */
  release() {
    clearTimeout(this.#timer);
  }
}

const outOfTime = () => new Fault('DEADLINE_EXCEEDED', 'the time of the call is over');

/** What to answer when the host took the call back. */
export const canceled = () => new Fault('CANCELED', 'the call was cancelled');
