// How much one answer may hold: less than the 256 MiB that the protocol allows, so that it is never made in vain.
import { Fault } from '../../plugin/fault.mjs';

export class Room {
  #left = 128 << 20;

  /** Takes room for so many bytes. */
  take(/** @type {number} */ bytes) {
    if (bytes > this.#left) throw new Fault('TOO_LARGE', 'the call would be answered with more than 128 MiB; ask for less at a time');
    this.#left -= bytes;
  }

  /** The bytes that are left. */
  get left() {
    return this.#left;
  }
}
