// Writing: one transaction for all that is asked for in a turn of the event loop.
//
// A commit waits for the disk, and the event loop with it. Meanwhile requests pile up, and the next commit is theirs together:
// so the disk is asked once for many callers. A call is answered when its commit is done, and not before.
import { now } from './clock.mjs';
import { storeFault } from './errors.mjs';
import { mortal } from './schema.mjs';

const swept = 32; // ended rows of each table that a commit removes, beside two for each of its calls

const sweeps = Object.entries(mortal).map(
  ([table, end]) => `DELETE FROM ${table} WHERE rowid IN (SELECT rowid FROM ${table} WHERE ${end} <= ? ORDER BY ${end} LIMIT ?)`,
);

/**
 * @typedef {object} Job
 * @property {import('../plugin/call.mjs').Call} call
 * @property {(now: number) => any} work
 * @property {(result: any) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {(() => void)[]} after
 * @property {any} [result]
 */

export class Commits {
  /** @type {Job[]} */
  #jobs = [];
  /** @type {(() => void)[]} of the job that is under way */
  #after = [];

  /** @param {import('./database.mjs').Database} db */
  constructor(db) {
    this.db = db;
  }

  /** @param {import('../plugin/call.mjs').Call} call @param {(now: number) => any} work */
  write(call, work) {
    return new Promise((resolve, reject) => {
      this.#jobs.push({ call, work, resolve, reject, after: [] });
      if (this.#jobs.length === 1) setImmediate(() => this.#commit());
    });
  }

  /** Has something done when the job that is under way is on the disk. */
  then(/** @type {() => void} */ does) {
    this.#after.push(does);
  }

  #commit() {
    const { db } = this;
    const jobs = this.#jobs;
    this.#jobs = [];
    const done = [];
    try {
      db.run('BEGIN IMMEDIATE');
      const at = now();
      for (const job of jobs) if (this.#do(job, at)) done.push(job);
      for (const sweep of sweeps) db.run(sweep, at, swept + 2 * jobs.length); // so that what has ended does not pile up
      db.run('COMMIT');
    } catch (error) {
      if (db.inTransaction) db.run('ROLLBACK');
      for (const job of jobs) job.reject(storeFault(error) ?? error); // those that were told already stay so
      return;
    }
    for (const job of done) {
      for (const does of job.after) does();
      job.resolve(job.result);
    }
  }

  /** Does one job, whole or not at all. It throws when the whole transaction is lost. */
  #do(/** @type {Job} */ job, /** @type {number} */ at) {
    const { db } = this;
    if (job.call.ended) {
      job.reject(job.call.ended);
      return false;
    }
    this.#after = job.after;
    db.run('SAVEPOINT job');
    try {
      job.result = job.work(at);
    } catch (error) {
      if (!db.inTransaction) throw error; // SQLite has undone all of it, as on a full disk
      db.run('ROLLBACK TO job');
      db.run('RELEASE job');
      job.reject(storeFault(error) ?? error);
      return false;
    }
    db.run('RELEASE job');
    return true;
  }
}
