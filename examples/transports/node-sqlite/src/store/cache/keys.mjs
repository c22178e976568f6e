// Listing keys, and following their changes.
import { list, pageOf } from './listing.mjs';

/**
 * @param {import('../space.mjs').Space} space
 * @param {import('../../plugin/checks/cache.mjs').CacheChecks} check
 * @returns {Record<string, import('../../plugin/node.mjs').Handler>}
 */
export function keyCalls(space, check) {
  return {
    listKeys(request) {
      const page = pageOf(request);
      check.page('cache: keys', page);
      return space.db.read((now) => {
        const { rows, next } = list(space, { table: 'entries', name: 'key' }, page, now);
        return { keys: rows.map((row) => row.name), next };
      });
    },

    // A commit is one turn of the event loop, so whatever is written after this answer is told.
    watchEntries({ prefix }, _, feed) {
      check.watch('cache: watch', prefix);
      const tell = (/** @type {object} */ change) => feed?.push('changes', change);
      space.watches.set(tell, prefix);
      if (feed) feed.closed = () => space.watches.delete(tell);
      return {};
    },
  };
}
