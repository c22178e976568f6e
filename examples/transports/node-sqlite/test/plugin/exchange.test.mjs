import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { Exchange } from '../../src/plugin/exchange.mjs';
import { Fault } from '../../src/plugin/fault.mjs';
import { Node } from '../../src/plugin/node.mjs';
import { decodeRequests, definition, services } from '../../src/plugin/protocol.mjs';

const { requestSerialize: encode, responseDeserialize: decode } = definition('backplane.transport.v1.TransportService').Exchange;

/** A stream that keeps what is written. */
class Stream extends EventEmitter {
  /** @type {any[]} */
  written = [];
  full = false;
  ended = false;
  paused = false;

  write(/** @type {Buffer} */ message) {
    assert.ok(message.length <= 1 << 20, `a message has ${message.length} bytes`);
    this.written.push(decode(services.transport.Exchange.responseSerialize(message)));
    return !this.full;
  }

  end() {
    this.ended = true;
  }

  pause() {
    this.paused = true;
  }

  resume() {
    this.paused = false;
  }

  get answers() {
    return this.written.flatMap((message) => message.answers);
  }
}

/** An exchange for a node with these calls. @param {Record<string, import('../../src/plugin/node.mjs').Handler>} calls */
function begin(calls) {
  const stream = new Stream();
  const node = new Node({ kind: 'test', capabilities: {}, calls, health() {}, close() {} });
  const exchange = new Exchange(/** @type {any} */ (stream), node);
  node.exchanges.add(exchange);
  return { stream, node, exchange, receive: (/** @type {object} */ message) => exchange.receive(decodeRequests(encode(message))) };
}

/** Waits until something is so, for as long as only something broken needs. */
async function until(/** @type {() => boolean} */ so) {
  for (const end = Date.now() + 60_000; !so(); ) {
    assert.ok(Date.now() < end, `this does not happen: ${so}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const never = (/** @type {any} */ _, /** @type {any} */ call) =>
  new Promise((_, reject) => call.signal.addEventListener('abort', () => reject(call.signal.reason)));

test('answers have the IDs of their requests, in any order', async () => {
  let listed = false;
  const { stream, receive } = begin({
    getEntries: async () => {
      await until(() => listed);
      return { results: [{ found: true }] };
    },
    listKeys: () => {
      listed = true;
      return { keys: [Buffer.from('k')] };
    },
  });

  receive({ requests: [{ id: '18446744073709551615', getEntries: {} }, { id: 2, listKeys: {} }] });
  await until(() => stream.answers.length === 2);

  assert.deepEqual(stream.answers.map((a) => [a.id.toString(), a.result]), [['2', 'listKeys'], ['18446744073709551615', 'getEntries']]);
});

test('what was thrown is the answer: a fault as it is, anything else as a bug', async () => {
  const { stream, receive } = begin({
    getEntries: () => {
      throw new Fault('LOCKED', 'no', { subject: Buffer.from('k'), retryable: true });
    },
    setEntries: async () => {
      throw new TypeError('oops');
    },
    listKeys: () => ({ keys: 7 }), // cannot be encoded
  });

  receive({ requests: [{ id: 1, getEntries: {} }, { id: 2, setEntries: {} }, { id: 3, listKeys: {} }, { id: 4, popLists: {} }, { id: 5 }] });
  await until(() => stream.answers.length === 5);

  const faults = Object.fromEntries(stream.answers.map((a) => [a.id.toNumber(), a.fault]));
  assert.equal(faults[1].code, 'CODE_LOCKED');
  assert.equal(faults[1].subject.toString(), 'k');
  assert.ok(faults[1].retryable);
  assert.equal(faults[2].code, 'CODE_INTERNAL');
  assert.equal(faults[3].code, 'CODE_INTERNAL');
  assert.equal(faults[4].code, 'CODE_UNSUPPORTED');
  assert.equal(faults[5].code, 'CODE_UNSUPPORTED');
});

test('a call ends with its budget, when it is taken back, and with the node', async () => {
  const { stream, node, receive } = begin({ claimTasks: never });

  receive({ requests: [{ id: 1, budget: 1e6, claimTasks: {} }, { id: 2, claimTasks: {} }, { id: 3, claimTasks: {} }] });
  await until(() => stream.answers.length === 1);
  receive({ cancels: [2, 77] });
  await until(() => stream.answers.length === 2);
  await node.close();
  await until(() => stream.ended);
  receive({ requests: [{ id: 4, claimTasks: {} }] });

  assert.deepEqual(
    stream.answers.map((a) => [a.id.toNumber(), a.fault.code]),
    [[1, 'CODE_DEADLINE_EXCEEDED'], [2, 'CODE_CANCELED'], [3, 'CODE_CLOSED']],
  );
});

test('large messages come and go in parts', async () => {
  const value = Buffer.alloc(3 << 20, 'x');
  const { stream, exchange, receive } = begin({ setEntries: ({ writes }) => ({ results: [{ revision: writes[0].value }] }) });
  const whole = encode({ requests: [{ id: 1, setEntries: { writes: [{ key: Buffer.from('k'), value }] } }] });

  for (let at = 0; at < whole.length; at += 1 << 20) {
    receive({ part: { data: whole.subarray(at, at + (1 << 20)), last: at + (1 << 20) >= whole.length } });
    receive({ cancels: [9] }); // others may come between them
  }
  await until(() => stream.written.at(-1)?.part.last);

  const parts = stream.written.map((message) => message.part);
  assert.deepEqual(parts.map((part) => part.last), [false, false, false, true]);
  const [answer] = decode(Buffer.concat(parts.map((part) => part.data))).answers;
  assert.ok(answer.setEntries.results[0].revision.equals(value));
  assert.throws(() => {
    for (let n = 0; n < 300; n++) exchange.receive({ part: { data: Buffer.alloc(1 << 20), last: false } });
  }, Fault);
});

test('a host that does not read is not read from', async () => {
  const { stream, receive } = begin({ getEntries: () => ({ results: [{ value: Buffer.alloc(1 << 20) }] }) });
  stream.full = true;

  for (let id = 1; id <= 40; id++) receive({ requests: [{ id, getEntries: {} }] });
  await until(() => stream.paused);

  stream.full = false;
  stream.emit('drain');
  await until(() => !stream.paused && stream.written.length === 80); // an answer is two parts
});

test('a feed ends with its subscription', async () => {
  /** @type {any} */
  let feed;
  const { stream, receive } = begin({
    watchEntries: (_, __, it) => {
      feed = it;
      return {};
    },
  });

  receive({ requests: [{ id: 1, watchEntries: { credit: 1000 } }] });
  await until(() => stream.answers.length === 1);
  feed.push('changes', { key: Buffer.from('a') });
  receive({ requests: [{ id: 2, unsubscribe: { subscription: 1 } }] });
  feed.push('changes', { key: Buffer.from('b') });
  await until(() => stream.answers.length === 2);

  assert.deepEqual(stream.answers.map((a) => a.result), ['watchEntries', 'unsubscribe']);
  assert.deepEqual(stream.written.flatMap((m) => m.events.map((/** @type {any} */ e) => e.changes[0].key.toString())), ['a']);
});
