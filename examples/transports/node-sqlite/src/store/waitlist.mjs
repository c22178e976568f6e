// Who waits for what: for each name the waiters, first come, first woken. A wake-up is given to one waiter at a time, and
// handed on by whoever leaves, so that a thousand waiters are not all woken for one lock or task, and none is lost with a
// waiter that gave up.

export class Waiter {
  #rung = false;
  /** @type {(() => void) | undefined} */
  #wake;

  /** @param {Buffer[]} names */
  constructor(names) {
    this.names = names.map((name) => name.toString('latin1'));
  }

  ring() {
    this.#rung = true;
    this.#wake?.();
  }

  /**
   * Sleeps until the bell rings, which it may have done before, the time is over, or the signal ends.
   * @param {number} ms @param {AbortSignal} signal
   */
  async sleep(ms, signal) {
    if (!this.#rung && !signal.aborted) {
      await new Promise((/** @type {(_: void) => void} */ resolve) => {
        const done = () => resolve();
        const timer = setTimeout(done, Math.min(Math.max(1, Math.ceil(ms)), 2 ** 31 - 1));
        signal.addEventListener('abort', done);
        this.#wake = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', done);
          resolve();
        };
      });
      this.#wake?.();
      this.#wake = undefined;
    }
    this.#rung = false;
  }
}

export class Waitlist {
  /** @type {Map<string, Set<Waiter>>} */
  #waiting = new Map();

  /** Puts a waiter at the end of each of its lists. One that is there keeps its places. */
  join(/** @type {Waiter} */ waiter) {
    for (const name of waiter.names) {
      const waiting = this.#waiting.get(name);
      if (waiting) waiting.add(waiter);
      else this.#waiting.set(name, new Set([waiter]));
    }
  }

  /** Takes a waiter out, and lets the next ones look: what it was woken for may still be there. */
  leave(/** @type {Waiter} */ waiter) {
    for (const name of waiter.names) {
      const waiting = this.#waiting.get(name);
      if (!waiting?.delete(waiter)) continue;
      if (waiting.size === 0) this.#waiting.delete(name);
      else this.wake(name);
    }
  }

  /** Rings for the first who waits for a name. When it looks in vain, all others would. */
  wake(/** @type {string} */ name) {
    for (const waiter of this.#waiting.get(name) ?? []) return waiter.ring();
  }

  /** Rings for the first of every name: something may have changed. */
  wakeAll() {
    for (const name of this.#waiting.keys()) this.wake(name);
  }
}
