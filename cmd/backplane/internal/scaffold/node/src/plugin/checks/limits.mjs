// What an argument may be, in words: each check throws a Fault that names the thing, its size, the limit and the remedy.
import { Fault } from '../fault.mjs';
import { duration } from '../numbers.mjs';

/** @typedef {import('../numbers.mjs').Long64} Long64 */

const enough = 64; // bytes of an over-long name that an error shows

/** The arguments of one element: what is done, and to what. */
export class Limits {
  /** @param {string} op @param {Buffer} subject */
  constructor(op, subject) {
    this.op = op;
    this.subject = subject.subarray(0, enough);
  }

  /** @param {string} code @param {string} message @returns {never} */
  refuse(code, message) {
    throw new Fault(code, message, { op: this.op, subject: this.subject });
  }

  /** Something that identifies. @param {string} what @param {Buffer} name @param {number} most */
  name(what, name, most) {
    if (name.length === 0) this.refuse('INVALID', `the ${what} is empty; give it one, of 1 to ${most} bytes`);
    this.length(what, name, most);
  }

  /** @param {string} what @param {Buffer} name @param {number} most */
  length(what, name, most) {
    if (name.length > most) this.refuse('INVALID', `the ${what} has ${name.length} bytes, ${most} are allowed`);
  }

  /** @param {string} what @param {number} size @param {number} most @param {string} remedy */
  size(what, size, most, remedy) {
    if (size > most) this.refuse('TOO_LARGE', `the ${what} has ${size} bytes, ${most} are allowed; ${remedy}`);
  }

  /** @param {number} n @param {number} most */
  batch(n, most) {
    if (n > most) this.refuse('TOO_LARGE', `the call has ${n} elements, ${most} are allowed; split it`);
  }

  /** @param {string} what @param {Long64} n @param {number} least */
  atLeast(what, n, least) {
    if (n.toNumber() < least) this.refuse('INVALID', `${what} is ${n}; it must be at least ${least}`);
  }

  /** A duration of which 0 means that there is no end. @param {string} what @param {Long64} d @param {number} least */
  lifetime(what, d, least) {
    if (!d.isZero()) this.term(what, d, least);
  }

  /** A duration that must have an end. @param {string} what @param {Long64} d @param {number} least */
  term(what, d, least) {
    const n = d.toNumber();
    if (n < least) this.refuse('INVALID', `the ${what} is ${duration(n)}; it must be at least ${duration(least)}`);
  }

  /** @param {string} what @param {Long64} d */
  notNegative(what, d) {
    if (d.isNegative()) this.refuse('INVALID', `${what} is ${duration(d.toNumber())}; it must not be negative`);
  }
}

export const nothing = Buffer.alloc(0);
