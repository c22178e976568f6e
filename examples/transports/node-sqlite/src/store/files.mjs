// The files that are open: nodes of this process that name the same one share it.
import { realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { Fault } from '../plugin/fault.mjs';
import { Database } from './database.mjs';

/** @type {Map<string, { db: Database, nodes: number }>} */
const files = new Map();

/**
 * Opens a file, or the one that another node has open. Whoever opens it closes it.
 * @param {import('./options.mjs').Options} options
 * @returns {{ db: Database, close: () => void }}
 */
export function openFile(options) {
  const path = canonical(options.file);
  const file = files.get(path) ?? { db: new Database(path, options), nodes: 0 };
  const { shared, synchronous } = file.db.options;
  if (shared !== options.shared || synchronous !== options.synchronous) {
    throw new Fault('INVALID', `${options.file} is open with other settings; nodes on one file need the same synchronous and shared`);
  }
  files.set(path, file);
  file.nodes++;
  const close = () => {
    if (--file.nodes > 0) return;
    files.delete(path);
    file.db.close();
  };
  return { db: file.db, close };
}

function canonical(/** @type {string} */ file) {
  const path = resolve(file);
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch {
    throw new Fault('INVALID', `there is no folder ${dirname(path)} for the file; make it`);
  }
}
