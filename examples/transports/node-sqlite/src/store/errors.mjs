// What SQLite says, as faults.
import { Fault } from '../plugin/fault.mjs';

/** @type {Record<string, [string, string, boolean]>} code, what to do, whether a retry can help */
const known = {
  SQLITE_BUSY: ['UNAVAILABLE', 'another process has had the file to itself for too long', true],
  SQLITE_FULL: ['EXHAUSTED', 'the disk is full; nothing was changed', true],
  SQLITE_IOERR: ['UNAVAILABLE', 'the disk fails', false],
  SQLITE_CANTOPEN: ['UNAVAILABLE', 'the file cannot be opened; look at its folder and their permissions', false],
  SQLITE_READONLY: ['PERMISSION_DENIED', 'the file cannot be written', false],
  SQLITE_PERM: ['PERMISSION_DENIED', 'the file may not be used', false],
  SQLITE_CORRUPT: ['CORRUPT', 'the file is damaged; restore it', false],
  SQLITE_NOTADB: ['INVALID', 'the file is no SQLite database; name another', false],
};

/** The fault for an error of SQLite, or undefined for anything else. */
export function storeFault(/** @type {any} */ error) {
  if (error instanceof Fault) return error;
  if (typeof error?.code !== 'string') return undefined;
  // Extended codes begin with the plain ones: SQLITE_IOERR_FSYNC.
  const name = error.code.split('_').slice(0, 2).join('_');
  if (known[name] === undefined) return undefined;
  const [code, what, retryable] = known[name];
  return new Fault(code, `${what} (${error.code}: ${error.message})`, { retryable });
}
