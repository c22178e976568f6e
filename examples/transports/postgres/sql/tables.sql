-- Layout 1: what the transport keeps, all of it in one schema of its own, which every connection has as its search_path.
--
-- Names of applications (keys, locks, lists, queues, IDs) are bytea: they are any bytes, and compare byte by byte.
-- Every time is the store's: clock_timestamp(), read after the rows that it is compared with are locked.

-- One row: what is installed here. A program with a lower layout than oldest is refused.
CREATE TABLE meta (
  one    boolean PRIMARY KEY DEFAULT true CHECK (one),
  layout integer NOT NULL,
  oldest integer NOT NULL
);

-- The clusters that share this schema. ns of all other tables is an id of this one.
CREATE TABLE namespace (
  id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE
);

-- Cache entries. One whose time is over is there for nobody, until a write with a lifetime sweeps it away.
CREATE TABLE entry (
  ns       integer     NOT NULL,
  key      bytea       NOT NULL,
  value    bytea       NOT NULL,
  flags    smallint    NOT NULL,
  revision bytea       NOT NULL, -- 12 random bytes, drawn by the writer
  created  bigint      NOT NULL, -- ns since 1970 by the writer's clock, for people
  expires  timestamptz,          -- null: never
  PRIMARY KEY (ns, key)
);
CREATE INDEX entry_expires ON entry (ns, expires) WHERE expires IS NOT NULL;
ALTER TABLE entry ALTER COLUMN value SET STORAGE EXTERNAL;

-- Locks. A row outlives its leases, because it remembers the fence: until forget, which is whole hours, so that most
-- changes of a row touch no index.
CREATE TABLE lock (
  ns     integer     NOT NULL,
  name   bytea       NOT NULL,
  holder bytea       NOT NULL,
  fence  bigint      NOT NULL, -- the last one given; 0: none yet
  ttl    bigint      NOT NULL, -- of the last lease, in µs
  ends   timestamptz NOT NULL, -- of the last lease; -infinity: released
  waited boolean     NOT NULL, -- somebody waits for its release
  forget timestamptz NOT NULL,
  PRIMARY KEY (ns, name)
) WITH (fillfactor = 70);
CREATE INDEX lock_forget ON lock (ns, forget);

-- Lists: values at the places head to tail - 1. An empty list does not exist.
CREATE TABLE list (
  id      bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
  ns      integer     NOT NULL,
  name    bytea       NOT NULL,
  head    bigint      NOT NULL,
  tail    bigint      NOT NULL,
  expires timestamptz,
  PRIMARY KEY (ns, name)
) WITH (fillfactor = 70);
CREATE INDEX list_expires ON list (ns, expires) WHERE expires IS NOT NULL;
CREATE TABLE item (
  list  bigint NOT NULL,
  place bigint NOT NULL,
  value bytea  NOT NULL,
  PRIMARY KEY (list, place)
);
ALTER TABLE item ALTER COLUMN value SET STORAGE EXTERNAL;

-- Queues, made by the first task or setting.
CREATE TABLE queue (
  id     integer GENERATED ALWAYS AS IDENTITY UNIQUE,
  ns     integer NOT NULL,
  name   bytea   NOT NULL,
  paused boolean NOT NULL DEFAULT false,
  lease  bigint,               -- µs; null: the default
  PRIMARY KEY (ns, name)
);

-- Tasks, in whatever state: 0 scheduled, 1 pending, 2 active, 3 completed, 4 dead, 5 cancelled.
CREATE SEQUENCE turn;
CREATE TABLE task (
  q          integer     NOT NULL,
  id         bytea       NOT NULL,
  state      smallint    NOT NULL,
  rank       smallint    NOT NULL, -- the higher the priority, the lower
  turn       bigint      NOT NULL, -- place in the line of its rank, kept while it is active
  due        timestamptz,          -- scheduled: run time; active: end of the lease; completed: when it is forgotten
  since      timestamptz NOT NULL, -- when it came into the state
  accepted   timestamptz NOT NULL, -- when it was enqueued
  run_at     timestamptz,          -- where it is not that of the body any more
  size       integer     NOT NULL, -- of the body, so that a claim can tell without reading it
  attempts   integer     NOT NULL DEFAULT 0,
  lost       integer     NOT NULL DEFAULT 0,
  max_lost   integer     NOT NULL,
  retention  bigint,               -- µs; null: not kept when completed
  unique_key bytea,
  unique_for bigint,               -- µs; null: until it ends
  callers    boolean     NOT NULL, -- the ID was chosen by the caller
  cancel     boolean     NOT NULL DEFAULT false,
  token      text,                 -- active: the claim; null in every other state, so it tells that a task is active too. Statements
                                   -- about claims do not name the state, or the planner may take the index of all active tasks
  worker     bytea,                -- active: who
  error      bytea,
  result     bytea,
  body       bytea       NOT NULL, -- the task as it was enqueued: see queue_record.go
  PRIMARY KEY (q, id)
) WITH (
  -- A busy queue leaves a dead version for each step of a task. The sooner they go, the less a claim steps over.
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.5
);
ALTER TABLE task ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX task_line ON task (q, rank, turn) WHERE state = 1;
CREATE INDEX task_due ON task (q, due) WHERE state IN (0, 2);
CREATE INDEX task_ended ON task (q, state, since, turn) WHERE state >= 3;
CREATE INDEX task_forget ON task (q, due) WHERE state = 3;

-- Who holds a unique key.
CREATE TABLE held (
  q     integer NOT NULL,
  key   bytea   NOT NULL,
  id    bytea   NOT NULL,
  until timestamptz, -- null: until the task ends
  PRIMARY KEY (q, key)
);

-- IDs that callers chose, of tasks that are gone.
CREATE TABLE gone (
  q     integer     NOT NULL,
  id    bytea       NOT NULL,
  until timestamptz NOT NULL,
  PRIMARY KEY (q, id)
);
CREATE INDEX gone_until ON gone (q, until);

-- Counts, in as many rows a queue as there are slots: connections have different ones, mostly, so that they seldom wait
-- for each other. What is asked for is the sum.
CREATE TABLE tally (
  q          integer  NOT NULL,
  slot       smallint NOT NULL,
  scheduled  bigint NOT NULL DEFAULT 0, pending bigint NOT NULL DEFAULT 0, active    bigint NOT NULL DEFAULT 0,
  completed  bigint NOT NULL DEFAULT 0, dead    bigint NOT NULL DEFAULT 0, cancelled bigint NOT NULL DEFAULT 0,
  all_enqueued bigint NOT NULL DEFAULT 0, all_duplicates bigint NOT NULL DEFAULT 0, all_completed bigint NOT NULL DEFAULT 0,
  all_retried  bigint NOT NULL DEFAULT 0, all_snoozed    bigint NOT NULL DEFAULT 0, all_released  bigint NOT NULL DEFAULT 0,
  all_dead     bigint NOT NULL DEFAULT 0, all_cancelled  bigint NOT NULL DEFAULT 0, all_lost      bigint NOT NULL DEFAULT 0,
  all_stale    bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (q, slot)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- The last answer to each sender of settlements.
CREATE TABLE answer (
  ns     integer     NOT NULL,
  worker bytea       NOT NULL,
  number bigint      NOT NULL,
  items  integer     NOT NULL, -- how many settlements it had
  stale  integer[]   NOT NULL, -- which of them were refused with LeaseLost, from 1
  forget timestamptz NOT NULL, -- whole 5 minutes, as with locks
  PRIMARY KEY (ns, worker)
) WITH (fillfactor = 50);
CREATE INDEX answer_forget ON answer (ns, forget);

-- Nodes that wait for tasks of a queue, and are to be notified. Losing them costs a second.
CREATE UNLOGGED TABLE waiter (
  ns    integer     NOT NULL,
  queue bytea       NOT NULL,
  node  text        NOT NULL,
  until timestamptz NOT NULL,
  PRIMARY KEY (ns, queue, node)
) WITH (fillfactor = 50);

-- Messages that a notification cannot carry, for a minute.
CREATE UNLOGGED TABLE parcel (
  ns    integer     NOT NULL,
  id    bytea       NOT NULL,
  frame bytea       NOT NULL,
  sent  timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (ns, id)
);
CREATE INDEX parcel_sent ON parcel (ns, sent);
ALTER TABLE parcel ALTER COLUMN frame SET STORAGE EXTERNAL;

-- Which node won a message for a group. Not unlogged: after a crash it must not be won again.
CREATE TABLE election (
  ns     integer     NOT NULL,
  ballot bytea       NOT NULL, -- the group and the message
  ticket bytea       NOT NULL, -- the winner's
  held   timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (ns, ballot)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX election_held ON election (ns, held);
