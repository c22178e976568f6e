// The tables. Times are milliseconds since the epoch by this machine's clock; `never` is a time that does not come. Names are
// BLOBs, which SQLite compares byte by byte.

export const version = 1;

/** After all times, and exact as a double. */
export const never = Number.MAX_SAFE_INTEGER;

export const schema = `
-- Clusters that share the file.
CREATE TABLE spaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE entries (
  space INTEGER NOT NULL, key BLOB NOT NULL,
  value BLOB NOT NULL, flags INTEGER NOT NULL, revision BLOB NOT NULL, created INTEGER NOT NULL, ends INTEGER NOT NULL,
  UNIQUE (space, key)
) STRICT;
CREATE INDEX entries_end ON entries (ends);

-- A lock is held until its end, and its fence is known until it is forgotten. A lock that was released ends at 0.
CREATE TABLE locks (
  space INTEGER NOT NULL, name BLOB NOT NULL,
  holder BLOB NOT NULL, fence INTEGER NOT NULL, ttl REAL NOT NULL, ends INTEGER NOT NULL, forgotten INTEGER NOT NULL,
  UNIQUE (space, name)
) STRICT;
CREATE INDEX locks_forgotten ON locks (forgotten);

-- The values of a list are those at the places front to back, of which back is free.
CREATE TABLE lists (
  id INTEGER PRIMARY KEY, space INTEGER NOT NULL, name BLOB NOT NULL,
  front INTEGER NOT NULL, back INTEGER NOT NULL, ends INTEGER NOT NULL,
  UNIQUE (space, name)
) STRICT;
CREATE INDEX lists_end ON lists (ends);
CREATE TABLE list_values (
  list INTEGER NOT NULL REFERENCES lists ON DELETE CASCADE, place INTEGER NOT NULL, value BLOB NOT NULL,
  UNIQUE (list, place)
) STRICT;

-- counts: tasks by state; totals: what has happened. Both are JSON. turns: numbers given out to tasks so far.
CREATE TABLE queues (
  id INTEGER PRIMARY KEY, space INTEGER NOT NULL, name BLOB NOT NULL,
  paused INTEGER NOT NULL DEFAULT 0, configured INTEGER NOT NULL DEFAULT 0, lease REAL NOT NULL,
  turns INTEGER NOT NULL DEFAULT 0, counts TEXT NOT NULL DEFAULT '{}', totals TEXT NOT NULL DEFAULT '{}',
  UNIQUE (space, name)
) STRICT;

-- A task is its record, which is the Task of the protocol as it was enqueued, and beside it what the store works with. In its
-- state it has a place: rank (pending: the higher the priority, the lower), at (scheduled: its time; ended: when it came), seq.
CREATE TABLE tasks (
  id INTEGER PRIMARY KEY, queue INTEGER NOT NULL REFERENCES queues ON DELETE CASCADE, task BLOB NOT NULL,
  record BLOB NOT NULL, size INTEGER NOT NULL,
  caller INTEGER NOT NULL, priority INTEGER NOT NULL, max_lost INTEGER NOT NULL,
  unique_key BLOB NOT NULL, unique_for REAL NOT NULL, retention REAL NOT NULL,
  state INTEGER NOT NULL, rank INTEGER NOT NULL, at INTEGER NOT NULL, seq INTEGER NOT NULL,
  since INTEGER NOT NULL, accepted INTEGER NOT NULL, turn INTEGER NOT NULL, run_at INTEGER, ends INTEGER NOT NULL,
  token BLOB, worker BLOB, cancel INTEGER NOT NULL,
  attempts INTEGER NOT NULL, lost INTEGER NOT NULL, error BLOB NOT NULL, result BLOB,
  UNIQUE (queue, task)
) STRICT;
CREATE INDEX tasks_place ON tasks (queue, state, rank, at, seq);
CREATE INDEX tasks_end ON tasks (queue, state, ends) WHERE state IN (3, 4); -- active, completed

-- Who holds a unique key, and IDs that are known after their tasks are gone.
CREATE TABLE unique_keys (
  queue INTEGER NOT NULL REFERENCES queues ON DELETE CASCADE, key BLOB NOT NULL, task INTEGER NOT NULL, ends INTEGER NOT NULL,
  UNIQUE (queue, key)
) STRICT;
CREATE INDEX unique_keys_end ON unique_keys (ends);
CREATE TABLE gone (
  queue INTEGER NOT NULL REFERENCES queues ON DELETE CASCADE, task BLOB NOT NULL, ends INTEGER NOT NULL,
  UNIQUE (queue, task)
) STRICT;
CREATE INDEX gone_end ON gone (ends);

-- What workers were told of their last settlements: a SettleTasksResult of the protocol.
CREATE TABLE answers (
  space INTEGER NOT NULL, worker BLOB NOT NULL, number TEXT NOT NULL, answer BLOB NOT NULL, ends INTEGER NOT NULL,
  UNIQUE (space, worker)
) STRICT;
CREATE INDEX answers_end ON answers (ends);
`;

/** What is deleted when a namespace is erased; the rest goes with it. */
export const erased = ['entries', 'locks', 'lists', 'queues', 'answers'];

/** What ends by itself, and by which column: each write removes some of it. Tasks are the queue's to forget. */
export const mortal = { entries: 'ends', locks: 'forgotten', lists: 'ends', unique_keys: 'ends', gone: 'ends', answers: 'ends' };
