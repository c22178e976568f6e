// The operator's settings.
import { Fault } from '../plugin/fault.mjs';

/** @type {Record<string, string>} */
const known = {
  file: 'the database; it is made if it is not there',
  shared: 'true: several processes of this machine may have the file open; then entries cannot be watched',
  synchronous: '"full" (the default: what was answered outlives a power cut) or "normal" (it outlives a crash of the process)',
};

/** @typedef {{ file: string, shared: boolean, synchronous: string }} Options */

/**
 * Reads the settings of a node.
 * @param {import('../plugin/service.mjs').Settings} settings
 * @returns {Options}
 */
export function parse({ url, options }) {
  for (const name of Object.keys(options)) if (!(name in known)) invalid(`there is no option ${JSON.stringify(name)}`);
  const file = options.file ?? url.replace(/^sqlite:(\/\/)?/, '');
  if (typeof file !== 'string' || file === '' || file === ':memory:') invalid('the option file is missing');
  const synchronous = options.synchronous ?? 'full';
  if (synchronous !== 'full' && synchronous !== 'normal') invalid('the option synchronous is neither "full" nor "normal"');
  const shared = options.shared ?? false;
  if (typeof shared !== 'boolean') invalid('the option shared is neither true nor false');
  return { file: String(file), shared: Boolean(shared), synchronous: String(synchronous) };
}

/** @returns {never} */
function invalid(/** @type {string} */ what) {
  const list = Object.entries(known).map(([name, meaning]) => `${name}: ${meaning}`);
  throw new Fault('INVALID', `${what}; the options are ${list.join('; ')}`);
}
