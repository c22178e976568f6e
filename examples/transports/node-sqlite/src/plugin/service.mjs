// The service that the host calls: it opens nodes, and begins exchanges for them.
import { isDeepStrictEqual } from 'node:util';
import { status } from '@grpc/grpc-js';
import { canceled } from './call.mjs';
import { Exchange, faultOf } from './exchange.mjs';
import { Fault } from './fault.mjs';
import { Node, closed } from './node.mjs';

/**
 * What an author writes: it opens nodes.
 * @typedef {object} Transport
 * @property {(settings: Settings) => import('./node.mjs').Backend | Promise<import('./node.mjs').Backend>} open
 */

/**
 * @typedef {object} Settings
 * @property {string} namespace nodes of different ones never see each other
 * @property {string} url of the store; it may hold a password
 * @property {Record<string, unknown>} options the operator's; they may hold passwords
 */

/** @typedef {import('@grpc/grpc-js').ServerUnaryCall<any, any>} Unary */
/** @typedef {(error: null, answer: object) => void} Reply */

export class Service {
  /** @type {Map<string, { request: object, opening: Promise<Node> }>} what was asked for, by the nodes' IDs */
  #opened = new Map();
  /** @type {Map<string, Node>} those that are open, by their IDs */
  #nodes = new Map();

  /** @param {Transport} transport */
  constructor(transport) {
    this.transport = transport;
  }

  /** The functions for gRPC. */
  get handlers() {
    return {
      Open: this.#unary('open', (request) => this.#open(request)),
      Close: this.#unary('close', async (request) => {
        const node = this.#nodes.get(request.node);
        await node?.close();
        this.#nodes.delete(request.node);
        this.#opened.delete(request.node);
        return {};
      }),
      Health: this.#unary('health', async (request) => {
        await this.#node(request.node).backend.health();
        return {};
      }),
      Erase: this.#unary('erase', async (request) => {
        const { backend } = this.#node(request.node);
        if (backend.erase === undefined) throw new Fault('UNSUPPORTED', `${backend.kind} cannot erase a namespace`);
        await backend.erase();
        return {};
      }),
      Exchange: (/** @type {import('@grpc/grpc-js').ServerDuplexStream<any, any>} */ stream) => this.#exchange(stream),
    };
  }

  /** Closes all nodes: the plugin ends. */
  async close() {
    await Promise.all([...this.#nodes.values()].map((node) => node.close()));
  }

  /** @param {string} name @param {(request: any) => Promise<object>} work */
  #unary(name, work) {
    return (/** @type {Unary} */ call, /** @type {Reply} */ reply) => {
      work(call.request).then(
        (answer) => reply(null, answer),
        (error) => reply(null, { fault: faultOf(error, name).toWire() }),
      );
    };
  }

  /**
   * Opens a node. The same request may come twice: a connection that ends at this moment has gRPC send it again by itself on the
   * next one. Then both are answered alike.
   */
  async #open(/** @type {any} */ request) {
    const before = this.#opened.get(request.node);
    if (before !== undefined && !isDeepStrictEqual(before.request, request)) {
      throw new Fault('CONFLICT', `the node ${request.node} is open already, with other settings`);
    }
    const opening = before?.opening ?? this.#begin(request);
    this.#opened.set(request.node, { request, opening });
    const { backend } = await opening.catch((error) => {
      this.#opened.delete(request.node);
      throw error;
    });
    return { kind: backend.kind, capabilities: { ...backend.capabilities, erase: backend.erase !== undefined } };
  }

  async #begin(/** @type {any} */ request) {
    const { node: id, namespace, url } = request;
    const node = new Node(await this.transport.open({ namespace: checked(namespace), url, options: parsed(request.options) }));
    this.#nodes.set(id, node);
    return node;
  }

  #node(/** @type {string} */ id) {
    const node = this.#nodes.get(id);
    if (!node) throw closed();
    return node;
  }

  #exchange(/** @type {import('@grpc/grpc-js').ServerDuplexStream<any, any>} */ stream) {
    /** @type {Exchange | undefined} */
    let exchange;
    const over = () => {
      exchange?.end(canceled());
      exchange?.node.exchanges.delete(exchange);
    };
    stream.on('data', (message) => {
      try {
        if (exchange === undefined) {
          const node = this.#nodes.get(message.node);
          if (!node) return void fail(stream, status.NOT_FOUND, `no node ${message.node} is open`);
          exchange = new Exchange(stream, node);
          node.exchanges.add(exchange);
        }
        exchange.receive(message);
      } catch (error) {
        over();
        fail(stream, status.INVALID_ARGUMENT, faultOf(error, 'exchange').message);
      }
    });
    stream.on('end', () => {
      over();
      if (exchange === undefined) stream.end();
    });
    stream.on('cancelled', over);
    stream.on('error', over);
  }
}

/** @param {import('@grpc/grpc-js').ServerDuplexStream<any, any>} stream @param {status} code @param {string} details */
function fail(stream, code, details) {
  stream.emit('error', Object.assign(new Error(details), { code, details }));
}

function checked(/** @type {string} */ namespace) {
  if (/^[A-Za-z0-9_-]{1,64}$/.test(namespace)) return namespace;
  throw new Fault('INVALID', `the namespace ${JSON.stringify(namespace)} must be 1 to 64 letters, digits, _ and -`);
}

/** @returns {Record<string, unknown>} */
function parsed(/** @type {string} */ options) {
  if (options === '') return {};
  let value;
  try {
    value = JSON.parse(options);
  } catch {
    value = undefined; // its text may hold a password, and so may what JSON.parse says of it
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new Fault('INVALID', 'the options are no JSON object');
}
