// One queue in a transaction: its tasks, and the moves between their states.
import { after, lifetime } from '../clock.mjs';
import { defaultLease, idMemory } from '../capabilities.mjs';
import { never } from '../schema.mjs';
import { State } from './state.mjs';

// All of a task but what is large.
const columns = `id, task, caller, priority, max_lost, unique_key, unique_for, retention, size, state, rank, at, seq, since,
  accepted, turn, run_at, ends, token, worker, cancel, attempts, lost, error`;
const find = `SELECT ${columns} FROM tasks WHERE queue = ? AND task = ?`;
const save = `UPDATE tasks SET state = @state, rank = @rank, at = @at, seq = @seq, since = @since, turn = @turn, run_at = @run_at,
  ends = @ends, token = @token, worker = @worker, cancel = @cancel, attempts = @attempts, lost = @lost, error = @error WHERE id = @id`;
const insert = `INSERT INTO tasks (queue, task, record, size, caller, priority, max_lost, unique_key, unique_for, retention,
    state, rank, at, seq, since, accepted, turn, run_at, ends, cancel, attempts, lost, error)
  VALUES (@queue, @task, @record, @size, @caller, @priority, @max_lost, @unique_key, @unique_for, @retention,
    0, 0, 0, 0, 0, @accepted, 0, NULL, ${never}, 0, 0, 0, x'')`;

const first = `SELECT ${columns} FROM tasks WHERE queue = ? AND state = ? ORDER BY rank, at, seq LIMIT ?`;
const due = `SELECT ${columns} FROM tasks WHERE queue = ? AND state = ${State.scheduled} AND rank = 0 AND at <= ? ORDER BY at, seq LIMIT ?`;
const ended = (/** @type {number} */ state) =>
  `SELECT ${columns} FROM tasks WHERE queue = ? AND state = ${state} AND ends <= ? ORDER BY ends, at, seq LIMIT ?`;
const endedLeases = ended(State.active);
const endedCompleted = ended(State.completed);
const nextDue = `SELECT at FROM tasks WHERE queue = ? AND state = ${State.scheduled} ORDER BY rank, at, seq LIMIT 1`;
const nextEnd = `SELECT ends FROM tasks WHERE queue = ? AND state = ${State.active} ORDER BY ends LIMIT 1`;

const holder = `SELECT task FROM unique_keys WHERE queue = ? AND key = ? AND ends > ?`;
const hold = `INSERT INTO unique_keys (queue, key, task, ends) VALUES (?, ?, ?, ?)
  ON CONFLICT (queue, key) DO UPDATE SET task = excluded.task, ends = excluded.ends`;
const yieldKey = 'DELETE FROM unique_keys WHERE queue = ? AND key = ? AND task = ?';
const remember = 'INSERT INTO gone (queue, task, ends) VALUES (?, ?, ?) ON CONFLICT (queue, task) DO UPDATE SET ends = excluded.ends';
const isGone = 'SELECT 1 FROM gone WHERE queue = ? AND task = ? AND ends > ?';

const saveLine = `UPDATE queues SET paused = ?, configured = ?, lease = ?, turns = ?, counts = ?, totals = ? WHERE id = ?`;
const makeLine = 'INSERT INTO queues (space, name, lease) VALUES (?, ?, ?)';

/** How many tasks of each sort one call moves at most when their time has come. */
const moved = 1000;

export class Line {
  #before;

  /** @param {import('../space.mjs').Space} space @param {any} row of queues */
  constructor(space, row) {
    this.space = space;
    this.db = space.db;
    this.id = row.id;
    /** @type {Buffer} */
    this.name = row.name;
    this.paused = row.paused !== 0;
    this.configured = row.configured !== 0;
    /** @type {number} nanoseconds */
    this.lease = row.lease;
    this.turns = row.turns;
    /** @type {Record<string, number>} tasks by state */
    this.counts = JSON.parse(row.counts);
    /** @type {Record<string, number>} what has happened, by its name in Totals */
    this.totals = JSON.parse(row.totals);
    this.#before = this.#state();
  }

  /** @param {import('../space.mjs').Space} space @param {Buffer} name @returns {Line | undefined} */
  static find(space, name) {
    const row = space.db.get('SELECT * FROM queues WHERE space = ? AND name = ?', space.id, name);
    return row && new Line(space, row);
  }

  /** @param {import('../space.mjs').Space} space @param {Buffer} name @returns {Line} */
  static make(space, name) {
    space.db.run(makeLine, space.id, name, defaultLease);
    return /** @type {Line} */ (Line.find(space, name));
  }

  #state() {
    return [Number(this.paused), Number(this.configured), this.lease, this.turns, JSON.stringify(this.counts), JSON.stringify(this.totals)];
  }

  /** Writes what has changed of the queue itself. */
  save() {
    const now = this.#state();
    if (now.some((value, i) => value !== this.#before[i])) this.db.run(saveLine, ...now, this.id);
  }

  /** Counts something that has happened. */
  happened(/** @type {string} */ what) {
    this.totals[what] = (this.totals[what] ?? 0) + 1;
  }

  next() {
    return ++this.turns;
  }

  /** Puts a task that is in no state into one. What the state's order depends on must be set before. */
  enter(/** @type {any} */ t, /** @type {number} */ state, /** @type {number} */ now) {
    t.state = state;
    t.since = now;
    [t.rank, t.at, t.seq] = [0, now, 0];
    if (state === State.pending) [t.rank, t.at, t.seq] = [-t.priority, 0, t.turn];
    else if (state === State.scheduled) [t.at, t.seq] = [t.due, this.next()];
    else t.seq = this.next();
    this.counts[state] = (this.counts[state] ?? 0) + 1;
    this.db.run(save, t);
  }

  /** Takes a task out of its state. */
  leave(/** @type {any} */ t) {
    this.counts[t.state]--;
    if (t.state === State.active) [t.token, t.worker, t.cancel] = [null, null, 0];
    if (t.state === State.completed) {
      t.ends = never;
      this.db.run('UPDATE tasks SET result = NULL WHERE id = ?', t.id);
    }
  }

  /** Puts a task, in no state, at the end of the line of pending tasks. */
  queue(/** @type {any} */ t, /** @type {number} */ now) {
    t.turn = this.next();
    this.enter(t, State.pending, now);
  }

  /** Puts a task, in no state, where it waits for its time; or in line, when that has come. */
  schedule(/** @type {any} */ t, /** @type {number} */ at, /** @type {number} */ now) {
    if (at <= now) return this.queue(t, now);
    t.due = at;
    this.enter(t, State.scheduled, now);
  }

  /** Moves a task into a state in which nothing more happens to it, and gives its unique key back. */
  end(/** @type {any} */ t, /** @type {number} */ state, /** @type {number} */ now) {
    this.leave(t);
    this.yield(t);
    if (state === State.dead) this.happened('dead');
    if (state === State.cancelled) this.happened('cancelled');
    this.enter(t, state, now);
  }

  /** Removes a task for good, as of a time. */
  drop(/** @type {any} */ t, /** @type {number} */ at) {
    this.counts[t.state]--;
    this.yield(t);
    this.db.run('DELETE FROM tasks WHERE id = ?', t.id);
    if (t.caller) this.db.run(remember, this.id, t.task, after(at, idMemory));
  }

  /** Gives a task its unique key. It is false when another has it. */
  hold(/** @type {any} */ t, /** @type {number} */ now) {
    if (t.unique_key.length === 0) return true;
    if (this.db.get(holder, this.id, t.unique_key, now) !== undefined) return false;
    this.db.run(hold, this.id, t.unique_key, t.id, lifetime(now, t.unique_for));
    return true;
  }

  /** Gives a task's unique key back, unless another task has it by now. */
  yield(/** @type {any} */ t) {
    if (t.unique_key.length > 0) this.db.run(yieldKey, this.id, t.unique_key, t.id);
  }

  /** The ID of the task that stands in the way of a new one, or undefined. @returns {Buffer | undefined} */
  standing(/** @type {any} */ t, /** @type {number} */ now) {
    if (this.find(t.task, now) !== undefined) return t.task;
    if (t.caller && this.db.get(isGone, this.id, t.task, now) !== undefined) return t.task;
    if (t.unique_key.length === 0) return undefined;
    const held = this.db.get(holder, this.id, t.unique_key, now);
    return held && this.db.get('SELECT task FROM tasks WHERE id = ?', held.task)?.task;
  }

  /** Stores a new task, in no state yet. */
  insert(/** @type {any} */ t) {
    t.id = Number(this.db.run(insert, { queue: this.id, ...t }).lastInsertRowid);
    Object.assign(t, { run_at: null, ends: never, token: null, worker: null, cancel: 0, attempts: 0, lost: 0, error: Buffer.alloc(0), turn: 0 });
  }

  /** The task with an ID, or undefined. */
  find(/** @type {Buffer} */ id, /** @type {number} */ now) {
    const t = this.db.get(find, this.id, id);
    if (t?.state === State.completed && t.ends <= now) {
      this.drop(t, t.ends);
      return undefined;
    }
    return t;
  }

  /** The first tasks in line. @returns {any[]} */
  pending(/** @type {number} */ most) {
    return this.db.all(first, this.id, State.pending, most);
  }

  /** Moves what is due, what has lost its lease and what is to be forgotten, a bounded number of each. */
  advance(/** @type {number} */ now) {
    for (const t of this.db.all(due, this.id, now, moved)) {
      this.leave(t);
      this.queue(t, now);
    }
    for (const t of this.db.all(endedLeases, this.id, now, moved)) this.lose(t, now);
    this.forget(now);
  }

  /** Drops completed tasks that are not kept any longer. */
  forget(/** @type {number} */ now, most = moved) {
    if (!this.counts[State.completed]) return;
    for (const t of this.db.all(endedCompleted, this.id, now, most)) this.drop(t, t.ends);
  }

  /** Takes a task back whose lease has ended. */
  lose(/** @type {any} */ t, /** @type {number} */ now) {
    t.lost++;
    this.happened('lost');
    if (t.cancel) return this.end(t, State.cancelled, now);
    if (t.lost > t.max_lost) {
      const worker = JSON.stringify(t.worker.toString());
      t.error = Buffer.from(`the lease was lost ${t.lost} times, ${t.max_lost} are allowed (max_lost); the last worker was ${worker}`);
      return this.end(t, State.dead, now);
    }
    this.leave(t);
    this.enter(t, State.pending, now);
  }

  /** When advance will have something to move next. */
  due() {
    return Math.min(this.db.get(nextDue, this.id)?.at ?? never, this.db.get(nextEnd, this.id)?.ends ?? never);
  }

  /** Whether the queue has anything to show. */
  get used() {
    const some = (/** @type {Record<string, number>} */ numbers) => Object.values(numbers).some((n) => n > 0);
    return this.paused || this.configured || some(this.counts) || some(this.totals);
  }
}
