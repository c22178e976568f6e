// Messages that are too large for one are sent in parts, in both directions. See Part in transport.proto.
import { Fault } from './fault.mjs';
import { decodeRequests, encodeResponse } from './protocol.mjs';

const mostOfPart = (1 << 20) - 64; // with what is around it, 1 MiB
const mostAssembled = 256 << 20;

/** The messages to write for an encoded one: itself, or its parts. @returns {Buffer[]} */
export function cut(/** @type {Buffer} */ encoded) {
  if (encoded.length <= mostOfPart) return [encoded];
  const parts = [];
  for (let at = 0; at < encoded.length; at += mostOfPart) {
    const data = encoded.subarray(at, at + mostOfPart);
    parts.push(encodeResponse({ part: { data, last: at + mostOfPart >= encoded.length } }));
  }
  return parts;
}

/** Whether a message can be sent at all. */
export const fits = (/** @type {Buffer} */ encoded) => encoded.length <= mostAssembled;

/** Puts the parts of requests together again. */
export class Assembly {
  /** @type {Buffer[]} */
  #pieces = [];
  #size = 0;

  /** The whole message with the last of its parts; before it, undefined. */
  add(/** @type {{ data: Buffer, last: boolean }} */ part) {
    this.#size += part.data.length;
    if (this.#size > mostAssembled) throw new Fault('TOO_LARGE', `a message in parts has more than ${mostAssembled} bytes`);
    this.#pieces.push(part.data);
    if (!part.last) return undefined;
    const whole = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#size = 0;
    return decodeRequests(whole);
  }
}
