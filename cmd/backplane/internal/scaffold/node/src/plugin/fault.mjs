// Faults: the errors of the protocol. Throw one in a handler, and the whole call is answered with it. The answer of one
// element holds what toWire makes of it.

/**
 * @typedef {object} Circumstances
 * @property {string} [op] what was done: "cache: set"
 * @property {Buffer} [subject] to what
 * @property {boolean} [retryable] the same call may succeed later, and does no harm twice
 */

export class Fault extends Error {
  /**
   * @param {string} code the name of a code without its CODE_: "INVALID"
   * @param {string} message what is wrong, what the limit is and what to do about it
   * @param {Circumstances} [at]
   */
  constructor(code, message, at = {}) {
    super(message);
    this.name = 'Fault';
    this.code = code;
    this.at = at;
  }

  /** The fault as the protocol has it. */
  toWire() {
    return { ...this.at, code: `CODE_${this.code}`, message: this.message };
  }
}

/**
 * What an element is answered: what it came to, or its fault.
 * @template T
 * @param {() => T} work
 * @returns {T | { fault: object }}
 */
export function attempt(work) {
  try {
    return work();
  } catch (error) {
    if (error instanceof Fault) return { fault: error.toWire() };
    throw error; // a bug, or the store: that is for the whole call
  }
}
