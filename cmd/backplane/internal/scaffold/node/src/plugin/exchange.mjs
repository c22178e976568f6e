// One exchange: the requests of the host for one node, worked on side by side, and their answers.
import { Call, canceled } from './call.mjs';
import { Fault } from './fault.mjs';
import { Feed } from './feed.mjs';
import { log } from './log.mjs';
import { milliseconds } from './numbers.mjs';
import { Outbox } from './outbox.mjs';
import { Assembly, fits } from './parts.mjs';
import { encodeResponse } from './protocol.mjs';

const mostUnanswered = 16 << 10;
const mostFeeds = 64 << 10;

/** The calls that begin something which goes on. */
const feeding = new Set(['watchEntries', 'subscribe', 'listen']);

export class Exchange {
  /** @type {Map<number, Call>} requests that are not answered */
  #calls = new Map();
  /** @type {Map<number, Feed>} what goes on */
  #feeds = new Map();
  #assembly = new Assembly();
  #over = false;

  /**
   * @param {import('@grpc/grpc-js').ServerDuplexStream<any, any>} stream
   * @param {import('./node.mjs').Node} node
   */
  constructor(stream, node) {
    this.node = node;
    this.outbox = new Outbox(stream);
  }

  /** Takes a message of the host in. It throws what ends the exchange. */
  receive(/** @type {any} */ message) {
    if (message.part !== null) {
      const whole = this.#assembly.add(message.part);
      if (whole === undefined) return;
      message = whole;
    }
    for (const request of message.requests) this.#begin(request);
    for (const id of message.cancels) this.#calls.get(id.toNumber())?.end(canceled());
    for (const credit of message.credits) this.#feeds.get(credit.subscription.toNumber())?.credit(credit.bytes.toNumber());
  }

  /** Gives up what still waits and closes what goes on. */
  end(/** @type {Fault} */ why) {
    if (this.#over) return;
    this.#over = true;
    for (const call of this.#calls.values()) call.end(why);
    for (const feed of this.#feeds.values()) feed.close();
    this.#feeds.clear();
    this.outbox.close();
  }

  #begin(/** @type {any} */ request) {
    if (this.#calls.size >= mostUnanswered) {
      const why = new Fault('EXHAUSTED', `${mostUnanswered} requests wait for their answers; make fewer at a time`, { retryable: true });
      this.#answer(request, { fault: why.toWire() });
      return;
    }
    const id = request.id.toNumber();
    const call = new Call(milliseconds(request.budget));
    this.#calls.set(id, call);
    this.#work(request, call).then((answer) => {
      call.release();
      this.#calls.delete(id);
      this.#answer(request, answer);
    });
  }

  /** What a request is answered. It never throws. */
  async #work(/** @type {any} */ request, /** @type {Call} */ call) {
    const name = request.call;
    try {
      if (name === 'unsubscribe') return { unsubscribe: this.#unsubscribe(request.unsubscribe) };
      const feed = feeding.has(name) ? this.#feed(request) : undefined;
      return { [name]: await this.node.work(name, request[name], call, feed) };
    } catch (error) {
      if (feeding.has(name)) this.#feeds.delete(request.id.toNumber());
      return { fault: faultOf(error, name).toWire() };
    }
  }

  #feed(/** @type {any} */ request) {
    if (this.#feeds.size >= mostFeeds) throw new Fault('EXHAUSTED', `${mostFeeds} subscriptions are open; close some`);
    const feed = new Feed(request[request.call].credit.toNumber(), (what) => {
      this.outbox.put(encodeResponse({ events: [{ subscription: request.id, ...what }] }));
    });
    this.#feeds.set(request.id.toNumber(), feed);
    return feed;
  }

  #unsubscribe(/** @type {any} */ what) {
    const id = what.subscription.toNumber();
    this.#feeds.get(id)?.close();
    this.#feeds.delete(id);
    return {};
  }

  #answer(/** @type {any} */ request, /** @type {any} */ answer) {
    if (this.#over) return;
    let encoded;
    try {
      encoded = encodeResponse({ answers: [{ id: request.id, ...answer }] });
      if (!fits(encoded)) throw new Fault('TOO_LARGE', `the answer has ${encoded.length} bytes, more than can be sent; ask for less at a time`);
    } catch (error) {
      encoded = encodeResponse({ answers: [{ id: request.id, fault: faultOf(error, request.call).toWire() }] });
    }
    this.outbox.put(encoded);
  }
}

/** The fault for whatever was thrown. What is none is a bug in the plugin. */
export function faultOf(/** @type {unknown} */ error, /** @type {string} */ what) {
  if (error instanceof Fault) return error;
  log.error('a call failed in a way that is not foreseen', { call: what, error: error instanceof Error ? error.stack : String(error) });
  return new Fault('INTERNAL', `a bug in the plugin: ${error instanceof Error ? error.message : error}`);
}
