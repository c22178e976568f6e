// A node that the host has opened: the handlers of its transport, and the calls that are under way in them.
import { Fault } from './fault.mjs';

/**
 * What a transport offers for one node.
 * @typedef {object} Backend
 * @property {string} kind what it is, for people
 * @property {object} capabilities as Capabilities in transport.proto has them
 * @property {Record<string, Handler>} calls by the name of the call: getEntries, claimTasks
 * @property {() => void | Promise<void>} health throws what is wrong with the store
 * @property {() => void | Promise<void>} [erase] removes all that the namespace keeps
 * @property {() => void | Promise<void>} close is called when no handler is at work any more
 */

/**
 * A handler answers a request with the result of the same name, or throws a Fault.
 * @typedef {(request: any, call: import('./call.mjs').Call, feed?: import('./feed.mjs').Feed) => any} Handler
 */

export const closed = () => new Fault('CLOSED', 'the node was closed');

export class Node {
  /** @type {Map<import('./call.mjs').Call, Promise<any>>} */
  #underWay = new Map();
  /** @type {Promise<void> | undefined} */
  #closing;
  /** @type {Set<import('./exchange.mjs').Exchange>} */
  exchanges = new Set();

  /** @param {Backend} backend */
  constructor(backend) {
    this.backend = backend;
  }

  /**
   * Does a call.
   * @param {string | undefined} name
   * @param {any} request
   * @param {import('./call.mjs').Call} call
   * @param {import('./feed.mjs').Feed} [feed]
   */
  async work(name, request, call, feed) {
    if (this.#closing !== undefined) throw closed();
    if (call.ended) throw call.ended;
    const handler = name === undefined ? undefined : this.backend.calls[name];
    if (handler === undefined) {
      throw new Fault('UNSUPPORTED', name === undefined ? 'the plugin is older than the call' : `${this.backend.kind} does not offer ${name}`);
    }
    const result = handler(request, call, feed);
    if (!(result instanceof Promise)) return result;
    this.#underWay.set(call, result);
    try {
      return await result;
    } finally {
      this.#underWay.delete(call);
    }
  }

  /** Closes the node, once: what waits in it is answered, and then its exchanges end. */
  close() {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close() {
    for (const call of this.#underWay.keys()) call.end(closed());
    await Promise.allSettled(this.#underWay.values());
    await new Promise((resolve) => setImmediate(resolve)); // their answers are on their way
    for (const exchange of this.exchanges) exchange.end(closed());
    await this.backend.close();
  }
}
