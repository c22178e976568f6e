// The arguments of cache and locks, checked against what the transport declares.
import { Limits, nothing } from './limits.mjs';

const smaller = 'store it in parts, or elsewhere with a reference here';

export class CacheChecks {
  /** @param {{ maxKey: number, maxValue: number, maxBatch: number, minTtl: number }} limits as in CacheCapabilities */
  constructor(limits) {
    this.limits = limits;
  }

  /** The number of elements of a call. */
  batch(/** @type {string} */ op, /** @type {any[]} */ elements) {
    new Limits(op, nothing).batch(elements.length, this.limits.maxBatch);
  }

  /** The name of an entry or list, and the guard beside it. */
  key(/** @type {string} */ op, /** @type {Buffer} */ key, /** @type {any} */ guard) {
    const at = new Limits(op, key);
    at.name('key', key, this.limits.maxKey);
    if (guard !== null) at.length("guard's holder", guard.holder, this.limits.maxKey);
    return at;
  }

  read(/** @type {string} */ op, /** @type {any} */ r) {
    this.key(op, r.key, r.guard);
  }

  write(/** @type {string} */ op, /** @type {any} */ w) {
    const at = this.key(op, w.key, w.guard);
    at.size('value', w.value.length, this.limits.maxValue, smaller);
    at.lifetime('lifetime', w.ttl, this.limits.minTtl);
    condition(at, w);
  }

  removal(/** @type {string} */ op, /** @type {any} */ r) {
    const at = this.key(op, r.key, r.guard);
    if (r.condition === 'CONDITION_ABSENT') at.refuse('INVALID', 'what is absent cannot be removed; use another condition');
    condition(at, r);
  }

  /** An element with a key and a lifetime: Lifetime, Increment. */
  lifetime(/** @type {string} */ op, /** @type {any} */ l) {
    this.key(op, l.key, l.guard).lifetime('lifetime', l.ttl, this.limits.minTtl);
  }

  watch(/** @type {string} */ op, /** @type {Buffer} */ prefix) {
    new Limits(op, prefix).length('prefix', prefix, this.limits.maxKey);
  }

  page(/** @type {string} */ op, /** @type {any} */ page) {
    new Limits(op, page.prefix).atLeast("the page's limit", page.limit, 0);
  }

  claim(/** @type {string} */ op, /** @type {any} */ c) {
    const at = this.lease(op, c);
    at.term('lease', c.ttl, this.limits.minTtl);
    at.notNegative('the wait', c.wait);
  }

  lease(/** @type {string} */ op, /** @type {any} */ l) {
    const at = new Limits(op, l.lock);
    at.name("lock's name", l.lock, this.limits.maxKey);
    at.name('holder', l.holder, this.limits.maxKey);
    return at;
  }

  renewal(/** @type {string} */ op, /** @type {any} */ l) {
    this.lease(op, l).term('lease', l.ttl, this.limits.minTtl);
  }

  push(/** @type {string} */ op, /** @type {any} */ p) {
    const at = this.key(op, p.list, p.guard);
    if (p.values.length === 0) at.refuse('INVALID', 'there are no values to push; give at least one');
    at.batch(p.values.length, this.limits.maxBatch);
    for (const value of p.values) at.size('value', value.length, this.limits.maxValue, smaller);
    at.lifetime('lifetime', p.ttl, this.limits.minTtl);
  }

  pop(/** @type {string} */ op, /** @type {any} */ p) {
    this.key(op, p.list, p.guard).atLeast('max', p.max, 1);
  }

  range(/** @type {string} */ op, /** @type {any} */ r) {
    const at = this.key(op, r.list, r.guard);
    at.atLeast('start', r.start, 0);
    at.atLeast('max', r.max, 1);
  }

  drop(/** @type {string} */ op, /** @type {any} */ r) {
    const at = this.key(op, r.key, r.guard);
    if (r.condition !== 'CONDITION_UNSPECIFIED') at.refuse('INVALID', 'a list has no revision to compare; drop it without a condition');
  }
}

function condition(/** @type {Limits} */ at, /** @type {any} */ element) {
  if (element.condition === 'CONDITION_REVISION' && element.revision.length === 0) {
    at.refuse('INVALID', 'the revision to compare is empty; use the condition that the key is absent');
  }
}
