// A transport that keeps cache, locks and queue in one SQLite file.
import { Call } from '../plugin/call.mjs';
import { CacheChecks } from '../plugin/checks/cache.mjs';
import { QueueChecks } from '../plugin/checks/queue.mjs';
import { cache, queue } from './capabilities.mjs';
import { entryCalls } from './cache/entries.mjs';
import { keyCalls } from './cache/keys.mjs';
import { listCalls } from './cache/lists.mjs';
import { lockCalls } from './cache/locks.mjs';
import { openFile } from './files.mjs';
import { parse } from './options.mjs';
import { adminCalls } from './queue/admin.mjs';
import { inspectCalls } from './queue/inspect.mjs';
import { settleCalls } from './queue/settle.mjs';
import { taskCalls } from './queue/tasks.mjs';

const checkCache = new CacheChecks(cache);
const checkQueue = new QueueChecks(queue);

/**
 * Opens a node.
 * @param {import('../plugin/service.mjs').Settings} settings
 * @returns {import('../plugin/node.mjs').Backend}
 */
export function open(settings) {
  const options = parse(settings);
  const { db, close } = openFile(options);
  const space = spaceIn(db, settings.namespace, close);
  return {
    kind: 'node-sqlite',
    capabilities: { cache: { ...cache, watcher: !options.shared }, queue }, // what another process changes is not told
    calls: {
      ...entryCalls(space, checkCache),
      ...keyCalls(space, checkCache),
      ...lockCalls(space, checkCache),
      ...listCalls(space, checkCache),
      ...taskCalls(space, checkQueue, queue.maxClaim),
      ...settleCalls(space, checkQueue),
      ...adminCalls(space, checkQueue),
      ...inspectCalls(space, checkQueue),
    },
    health: () => db.read(() => void db.get('SELECT count(*) FROM spaces')),
    erase: () => db.write(new Call(0), () => space.erase()),
    close,
  };
}

/** @param {import('./database.mjs').Database} db @param {string} namespace @param {() => void} close */
function spaceIn(db, namespace, close) {
  try {
    return db.space(namespace);
  } catch (error) {
    close();
    throw error;
  }
}
