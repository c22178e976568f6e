// A file, and the one connection to it.
import SQLite from 'better-sqlite3';
import { Fault } from '../plugin/fault.mjs';
import { now } from './clock.mjs';
import { Commits } from './commits.mjs';
import { storeFault } from './errors.mjs';
import { schema, version } from './schema.mjs';
import { Space } from './space.mjs';

const busy = 2000; // how long another process may have the file to itself before we give up, in milliseconds
const askOthers = 100; // how often to look whether another process has changed a file that is shared

export class Database {
  #sql;
  #commits = new Commits(this);
  /** @type {Map<string, SQLite.Statement>} */
  #statements = new Map();
  /** @type {Map<string, Space>} */
  #spaces = new Map();
  /** @type {NodeJS.Timeout | undefined} */
  #poll;

  /** @param {string} path @param {import('./options.mjs').Options} options */
  constructor(path, options) {
    this.options = options;
    try {
      this.#sql = new SQLite(path, { timeout: busy });
      prepare(this.#sql, path, options);
    } catch (error) {
      this.#sql?.close();
      throw taken(error) ?? storeFault(error) ?? error;
    }
    if (options.shared) this.#askOthers();
  }

  close() {
    clearInterval(this.#poll);
    this.#sql.close();
  }

  /** What a namespace keeps here. */
  space(/** @type {string} */ namespace) {
    let space = this.#spaces.get(namespace);
    if (space === undefined) {
      try {
        this.run('INSERT INTO spaces (name) VALUES (?) ON CONFLICT DO NOTHING', namespace);
        space = new Space(this, this.get('SELECT id FROM spaces WHERE name = ?', namespace).id);
      } catch (error) {
        throw storeFault(error) ?? error;
      }
      this.#spaces.set(namespace, space);
    }
    return space;
  }

  #statement(/** @type {string} */ text) {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#sql.prepare(text);
      this.#statements.set(text, statement);
    }
    return statement;
  }

  /** @param {string} text @param {...any} values @returns {any} the first row, or undefined */
  get(text, ...values) {
    return this.#statement(text).get(...values);
  }

  /** @param {string} text @param {...any} values @returns {any[]} */
  all(text, ...values) {
    return this.#statement(text).all(...values);
  }

  /** @param {string} text @param {...any} values */
  run(text, ...values) {
    return this.#statement(text).run(...values);
  }

  get inTransaction() {
    return this.#sql.inTransaction;
  }

  /**
   * Reads: what work sees is of one time.
   * @template T @param {(now: number) => T} work @returns {T}
   */
  read(work) {
    try {
      this.run('BEGIN');
      try {
        return work(now());
      } finally {
        if (this.inTransaction) this.run('COMMIT');
      }
    } catch (error) {
      throw storeFault(error) ?? error;
    }
  }

  /**
   * Writes: all that work does or, when it throws, nothing. It answers when that is on the disk.
   * @template T @param {import('../plugin/call.mjs').Call} call @param {(now: number) => T} work @returns {Promise<T>}
   */
  write(call, work) {
    return this.#commits.write(call, work);
  }

  /** Has something done when what is being written is on the disk. */
  committed(/** @type {() => void} */ does) {
    this.#commits.then(does);
  }

  /** Looks now and then whether another process has written: who waits here has to know. */
  #askOthers() {
    const ask = () => this.#sql.pragma('data_version', { simple: true }); // ours do not change it
    let seen = ask();
    this.#poll = setInterval(() => {
      const version = ask();
      if (version !== seen) for (const space of this.#spaces.values()) space.changedElsewhere();
      seen = version;
    }, askOthers);
  }
}

/** @param {SQLite.Database} sql @param {string} path @param {import('./options.mjs').Options} options */
function prepare(sql, path, options) {
  if (!options.shared) sql.pragma('locking_mode = EXCLUSIVE'); // from the first access on, until it is closed
  sql.pragma('journal_mode = WAL');
  sql.pragma(`synchronous = ${options.synchronous}`);
  sql.pragma('foreign_keys = ON');
  const make = sql.transaction(() => {
    const found = Number(sql.pragma('user_version', { simple: true }));
    if (found > version) {
      throw new Fault('INVALID', `${path} was written by a newer version of this plugin (${found}, this one knows ${version}); update it`);
    }
    if (found === 0) {
      sql.exec(schema);
      sql.pragma(`user_version = ${version}`);
    }
  });
  make.immediate();
}

/** That another process has the file open which should be ours alone, or the other way round. */
function taken(/** @type {any} */ error) {
  if (error?.code !== 'SQLITE_BUSY') return undefined;
  return new Fault('UNAVAILABLE', 'another process has the file open; end it, or set the option shared to true in all of them', { retryable: true });
}
