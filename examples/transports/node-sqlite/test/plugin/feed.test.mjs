import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Feed } from '../../src/plugin/feed.mjs';

const change = (/** @type {number} */ n) => ({ key: Buffer.from(String(n).padStart(6, '0')), deleted: false }); // weighs 70

/** @returns {{ feed: Feed, sent: any[] }} */
function fed(/** @type {number} */ credit) {
  /** @type {any[]} */
  const sent = [];
  return { feed: new Feed(credit, (events) => sent.push(...Object.values(events)[0])), sent };
}

test('events are sent while there is credit, which may fall below 0 by one of them', () => {
  const { feed, sent } = fed(71);
  for (let n = 0; n < 4; n++) feed.push('changes', change(n));
  assert.deepEqual(sent, [0, 1].map(change));

  feed.credit(69); // back to 0: none
  assert.equal(sent.length, 2);

  feed.credit(1);
  assert.deepEqual(sent, [0, 1, 2].map(change));
});

test('what does not fit is counted, and told in its place', () => {
  const { feed, sent } = fed(0);
  const all = 5000;
  for (let n = 0; n < all; n++) feed.push('changes', change(n));

  feed.credit(1e9);
  feed.push('changes', change(all));

  assert.deepEqual(sent.slice(0, 4096), Array.from({ length: 4096 }, (_, n) => change(n)));
  assert.deepEqual(sent.slice(4096), [{ resync: true }, change(all)]);
});

test('a gap of messages says how many', () => {
  const { feed, sent } = fed(0);
  const event = { message: { payload: Buffer.alloc(1 << 20), headers: [{ name: Buffer.from('n'), value: Buffer.from('v') }] } };
  for (let n = 0; n < 10; n++) feed.push('events', event);

  feed.credit(1e9);

  assert.equal(sent.length, 4); // 3 of a MiB and a little each, in 4 MiB
  assert.deepEqual(sent[3], { gap: { cause: 'CAUSE_OVERFLOW', lost: 7 } });
});

test('a feed that is closed tells so once, and sends nothing', () => {
  const { feed, sent } = fed(1000);
  let closed = 0;
  feed.closed = () => closed++;

  feed.close();
  feed.close();
  feed.push('changes', change(1));
  feed.credit(1000);

  assert.equal(closed, 1);
  assert.deepEqual(sent, []);
});
