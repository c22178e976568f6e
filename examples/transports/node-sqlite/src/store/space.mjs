// What belongs to one namespace of a file, shared by its nodes in this process: its number, who waits, and who watches.
import { Waitlist } from './waitlist.mjs';
import { erased } from './schema.mjs';

export class Space {
  locks = new Waitlist();
  tasks = new Waitlist();
  /** @type {Map<(change: object) => void, Buffer>} by whom it is watched, and under which prefix */
  watches = new Map();

  /** @param {import('./database.mjs').Database} db @param {number} id */
  constructor(db, id) {
    this.db = db;
    this.id = id;
  }

  /** Tells those who watch, once what is being written is on the disk. */
  changed(/** @type {Buffer} */ key, deleted = false) {
    if (this.watches.size === 0) return;
    this.db.committed(() => {
      for (const [tell, prefix] of this.watches) {
        if (key.subarray(0, prefix.length).equals(prefix)) tell({ key, deleted });
      }
    });
  }

  /** Another process has written to the file, perhaps here. */
  changedElsewhere() {
    this.locks.wakeAll();
    this.tasks.wakeAll();
  }

  /** Removes all that the namespace keeps. */
  erase() {
    for (const table of erased) this.db.run(`DELETE FROM ${table} WHERE space = ?`, this.id);
  }
}
