// What is written to an exchange: at once when it takes it, and together while it does not. When the host does not read, no
// more of its requests are read either, so what is held stays bounded.
//
// Encoded messages put one after the other are the encoding of one that has what all of them have. So an answer is a
// message of its own, and those that are ready in one turn of the event loop are written as one.
import { cut } from './parts.mjs';

const together = 64 << 10; // more in one message saves nothing
const enough = 32 << 20; // bytes that are held before no more is asked for

export class Outbox {
  /** @type {Buffer[]} */
  #held = [];
  #bytes = 0; // of those
  #scheduled = false;
  #full = false;
  #closing = false;

  /** @param {import('@grpc/grpc-js').ServerDuplexStream<any, any>} stream */
  constructor(stream) {
    this.stream = stream;
    stream.on('drain', () => {
      this.#full = false;
      this.#schedule();
    });
  }

  put(/** @type {Buffer} */ encoded) {
    this.#held.push(encoded);
    this.#bytes += encoded.length;
    if (this.#bytes > enough) this.stream.pause();
    this.#schedule();
  }

  /** Ends the stream when all that was put is written. */
  close() {
    this.#closing = true;
    this.#schedule();
  }

  #schedule() {
    if (this.#scheduled || this.#full) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush() {
    let at = 0;
    while (at < this.#held.length && !this.#full) {
      let size = 0;
      const first = at;
      do size += this.#held[at++].length;
      while (at < this.#held.length && size + this.#held[at].length <= together);
      this.#bytes -= size;
      const message = at - first === 1 ? this.#held[first] : Buffer.concat(this.#held.slice(first, at), size);
      for (const each of cut(message)) if (!this.stream.write(each)) this.#full = true;
    }
    this.#held.splice(0, at);
    if (this.#bytes <= enough) this.stream.resume();
    if (this.#closing && this.#held.length === 0) this.stream.end();
  }
}
