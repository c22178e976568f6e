-- The task queue. States: 0 scheduled, 1 pending, 2 active, 3 completed, 4 dead, 5 cancelled.
--
-- Wake-ups: "q COUNT QUEUE" on the channel given, with the queue's name in hex, where somebody has said that it waits.
-- Whoever enqueues holds the queue's bucket of advisory locks shared, from before it looks for those who wait until its
-- transaction ends; who begins to wait takes it exclusively and looks for tasks after that. So one of them sees the other.

-- The tally's row that this connection counts in.
CREATE FUNCTION slot() RETURNS smallint LANGUAGE sql STABLE AS $$ SELECT (pg_backend_pid() % 32)::smallint $$;

CREATE FUNCTION hold_buckets(p_ns integer, p_queues bytea[], shared boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE bucket integer;
BEGIN
  FOR bucket IN -- in one order, so that nobody waits in a circle
    SELECT DISTINCT ('x' || substr(md5(name), 1, 2))::bit(8)::integer + 256 * (p_ns % 8000000) AS n FROM unnest(p_queues) AS u(name) ORDER BY n
  LOOP
    IF shared THEN
      PERFORM pg_advisory_xact_lock_shared(1651470957, bucket);
    ELSE
      PERFORM pg_advisory_xact_lock(1651470957, bucket);
    END IF;
  END LOOP;
END $$;

-- Notifies those who wait for queues that each has so many tasks more.
CREATE FUNCTION queue_wake(p_ns integer, p_queues bytea[], p_counts bigint[], p_wake text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM hold_buckets(p_ns, p_queues, true);
  PERFORM pg_notify(p_wake, 'q ' || u.n || ' ' || encode(u.name, 'hex')) FROM unnest(p_queues, p_counts) AS u(name, n)
    WHERE EXISTS (SELECT FROM waiter WHERE ns = p_ns AND queue = u.name AND until > clock_timestamp());
END $$;

-- Notes for how long a node waits for tasks of queues.
CREATE FUNCTION queue_wait(p_ns integer, p_queues bytea[], p_node text, p_ms integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE name_ bytea;
BEGIN
  PERFORM hold_buckets(p_ns, p_queues, false);
  FOREACH name_ IN ARRAY p_queues LOOP
    INSERT INTO waiter (ns, queue, node, until)
      VALUES (p_ns, name_, p_node, clock_timestamp() + p_ms * interval '1 millisecond')
      ON CONFLICT (ns, queue, node) DO UPDATE SET until = excluded.until;
    DELETE FROM waiter WHERE ns = p_ns AND queue = name_ AND until < clock_timestamp();
  END LOOP;
END $$;

-- Gives unique keys back that these tasks hold, and remembers for 5 minutes, of those that are dropped, the IDs that
-- their callers chose. Both where there is any.
CREATE FUNCTION task_unheld(p_q integer, p_id bytea, p_key bytea) RETURNS void LANGUAGE sql AS $$
  DELETE FROM held WHERE q = p_q AND key = p_key AND id = p_id
$$;
CREATE FUNCTION task_gone(p_q integer, p_id bytea, p_from timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE now_ timestamptz := clock_timestamp();
BEGIN
  INSERT INTO gone (q, id, until) VALUES (p_q, p_id, p_from + interval '5 minutes')
    ON CONFLICT (q, id) DO UPDATE SET until = excluded.until;
  DELETE FROM gone WHERE q = p_q AND id = ANY (ARRAY(
    SELECT id FROM gone WHERE q = p_q AND until <= now_ ORDER BY until LIMIT 2 FOR UPDATE SKIP LOCKED)) AND until <= now_;
END $$;

-- Takes a unique key for a task; null when it has it, and otherwise the ID of the task that does.
CREATE FUNCTION task_hold(p_q integer, p_id bytea, p_key bytea, p_for bigint) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE other bytea;
BEGIN
  LOOP
    INSERT INTO held AS h (q, key, id, until) VALUES (p_q, p_key, p_id, ends_in(p_for))
      ON CONFLICT (q, key) DO UPDATE SET id = excluded.id, until = excluded.until WHERE h.until <= clock_timestamp() OR h.id = excluded.id;
    IF FOUND THEN RETURN NULL; END IF;
    SELECT id INTO other FROM held WHERE q = p_q AND key = p_key;
    IF FOUND THEN RETURN other; END IF;
  END LOOP;
END $$;

-- Forgets up to n completed tasks whose retention is over.
CREATE FUNCTION queue_forget(p_q integer, n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE t record; now_ timestamptz := clock_timestamp(); c bigint := 0;
BEGIN
  FOR t IN
    DELETE FROM task WHERE q = p_q AND id = ANY (ARRAY(
      SELECT id FROM task WHERE q = p_q AND state = 3 AND due <= now_ ORDER BY due LIMIT n FOR UPDATE SKIP LOCKED))
      AND state = 3 AND due <= now_
    RETURNING id, callers, due
  LOOP
    c := c + 1;
    IF t.callers THEN PERFORM task_gone(p_q, t.id, t.due); END IF;
  END LOOP;
  IF c > 0 THEN
    INSERT INTO tally (q, slot, completed) VALUES (p_q, slot(), -c)
      ON CONFLICT (q, slot) DO UPDATE SET completed = tally.completed + excluded.completed;
  END IF;
END $$;

-- The queues of a batch, made where they are not there.
CREATE FUNCTION queue_open(p_ns integer, p_names bytea[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM unnest(p_names) u(name) WHERE NOT EXISTS (SELECT FROM queue WHERE ns = p_ns AND name = u.name)) THEN
    INSERT INTO queue (ns, name) SELECT DISTINCT p_ns, u.name FROM unnest(p_names) u(name) ORDER BY u.name ON CONFLICT DO NOTHING;
  END IF;
END $$;

-- Stores tasks, in order. p_names are the queues of the batch, p_queues for each task the number of its queue among them,
-- from 1. A row is a task that was refused, with the one in the way.
--
-- All are inserted at once. Then those that were not are looked at one by one (a completed task whose time is over may
-- stand in the way), and those whose ID the caller chose, or that have a unique key: only after the insertion has made
-- everybody else with that ID wait is it certain who else has or had it.
CREATE FUNCTION queue_enqueue(p_ns integer, p_names bytea[], p_queues integer[], p_ids bytea[], p_bodies bytea[], p_sizes integer[],
                              p_ranks smallint[], p_dues timestamptz[], p_max_losts integer[], p_retentions bigint[],
                              p_callers boolean[], p_keys bytea[], p_fors bigint[], p_special boolean, p_wake text)
RETURNS TABLE (i integer, stands bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  now_ timestamptz; stored integer[]; refused integer[] := '{}'; e record; standing bytea; qs integer[]; c record;
  inserted bigint; woken bytea[] := '{}'; counts bigint[] := '{}';
BEGIN
  PERFORM queue_open(p_ns, p_names);
  SELECT array_agg(q.id ORDER BY u.n) INTO qs FROM unnest(p_names) WITH ORDINALITY u(name, n) JOIN queue q ON q.ns = p_ns AND q.name = u.name;
  now_ := clock_timestamp();
  WITH new AS (
    INSERT INTO task (q, id, state, rank, turn, due, since, accepted, size, max_lost, retention, unique_key, unique_for, callers, body)
      SELECT qs[u.queue], u.id, CASE WHEN u.due > now_ THEN 0 ELSE 1 END, u.rank, nextval('turn'), CASE WHEN u.due > now_ THEN u.due END,
             now_, now_, u.size, u.max_lost, u.retention, u.key, u.for_, u.callers, u.body
      FROM unnest(p_queues, p_ids, p_bodies, p_sizes, p_ranks, p_dues, p_max_losts, p_retentions, p_callers, p_keys, p_fors)
        AS u(queue, id, body, size, rank, due, max_lost, retention, callers, key, for_)
      ON CONFLICT DO NOTHING
    RETURNING q, id
  ), part AS MATERIALIZED (SELECT q, id FROM new)
  SELECT (SELECT count(*) FROM part),
         -- Of an ID that is twice in the batch the first was stored.
         CASE WHEN p_special OR (SELECT count(*) FROM part) < cardinality(p_ids) THEN (
           SELECT array_agg(s.n) FROM (
             SELECT min(u.n)::int AS n FROM part JOIN unnest(p_queues, p_ids) WITH ORDINALITY AS u(queue, id, n)
               ON part.q = qs[u.queue] AND part.id = u.id GROUP BY part.q, part.id) s) END
    INTO inserted, stored;

  IF inserted < cardinality(p_ids) OR p_special THEN
    stored := coalesce(stored, '{}');
    FOR e IN
      SELECT *, qs[u.queue] AS q, n = ANY (stored) AS new
      FROM unnest(p_queues, p_ids, p_bodies, p_sizes, p_ranks, p_dues, p_max_losts, p_retentions, p_callers, p_keys, p_fors)
        WITH ORDINALITY AS u(queue, id, body, size, rank, due, max_lost, retention, callers, key, for_, n)
      ORDER BY n
    LOOP
      IF e.new IS NOT TRUE THEN
        standing := e.id;
        DELETE FROM task WHERE q = e.q AND id = e.id AND state = 3 AND due <= clock_timestamp() RETURNING callers, due INTO c;
        IF FOUND THEN
          IF c.callers THEN PERFORM task_gone(e.q, e.id, c.due); END IF;
          INSERT INTO tally (q, slot, completed) VALUES (e.q, slot(), -1)
            ON CONFLICT (q, slot) DO UPDATE SET completed = tally.completed - 1;
        END IF;
        INSERT INTO task (q, id, state, rank, turn, due, since, accepted, size, max_lost, retention, unique_key, unique_for, callers, body)
          VALUES (e.q, e.id, CASE WHEN e.due > now_ THEN 0 ELSE 1 END, e.rank, nextval('turn'), CASE WHEN e.due > now_ THEN e.due END,
                  now_, now_, e.size, e.max_lost, e.retention, e.key, e.for_, e.callers, e.body)
          ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
          refused := refused || e.n::int;
          RETURN QUERY SELECT e.n::int, standing;
          CONTINUE;
        END IF;
        stored := stored || e.n::int;
      END IF;
      standing := NULL;
      IF e.callers AND EXISTS (SELECT FROM gone WHERE q = e.q AND id = e.id AND until > clock_timestamp()) THEN
        standing := e.id;
      ELSIF e.key IS NOT NULL THEN
        standing := task_hold(e.q, e.id, e.key, e.for_);
      END IF;
      IF standing IS NOT NULL THEN
        DELETE FROM task WHERE q = e.q AND id = e.id;
        refused := refused || e.n::int;
        RETURN QUERY SELECT e.n::int, standing;
      END IF;
    END LOOP;
  END IF;

  FOR c IN
    SELECT u.queue, count(*) FILTER (WHERE NOT u.refused) AS stored, count(*) FILTER (WHERE u.refused) AS refused,
           count(*) FILTER (WHERE NOT u.refused AND u.due > now_) AS later,
           count(*) FILTER (WHERE NOT u.refused AND coalesce(u.due <= now_ + interval '1 second', true)) AS soon
      FROM (SELECT v.queue, v.due, v.n = ANY (refused) AS refused FROM unnest(p_queues, p_dues) WITH ORDINALITY AS v(queue, due, n)) u
      GROUP BY u.queue ORDER BY u.queue
  LOOP
    INSERT INTO tally (q, slot, scheduled, pending, all_enqueued, all_duplicates)
      VALUES (qs[c.queue], slot(), c.later, c.stored - c.later, c.stored, c.refused)
      ON CONFLICT (q, slot) DO UPDATE SET scheduled = tally.scheduled + excluded.scheduled, pending = tally.pending + excluded.pending,
        all_enqueued = tally.all_enqueued + excluded.all_enqueued, all_duplicates = tally.all_duplicates + excluded.all_duplicates;
    IF c.soon > 0 THEN
      woken := woken || p_names[c.queue];
      counts := counts || c.soon;
    END IF;
  END LOOP;
  IF cardinality(woken) > 0 THEN PERFORM queue_wake(p_ns, woken, counts, p_wake); END IF;
END $$;

-- Moves up to n tasks of a queue whose time has come: scheduled ones to the end of the line, in the order of their times,
-- and those whose lease has ended to where they were in it; or to dead, when too many were lost, or to cancelled.
CREATE FUNCTION queue_advance(p_q integer, n integer) RETURNS void LANGUAGE plpgsql SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE now_ timestamptz := clock_timestamp();
BEGIN
  PERFORM FROM task WHERE q = p_q AND state IN (0, 2) AND due <= now_ LIMIT 1;
  IF NOT FOUND THEN RETURN; END IF;
  WITH picked AS MATERIALIZED (
    SELECT id, state, due, turn FROM task WHERE q = p_q AND state IN (0, 2) AND due <= now_ ORDER BY due, turn LIMIT n FOR UPDATE SKIP LOCKED
  ), placed AS MATERIALIZED (
    SELECT id, state AS was, CASE WHEN state = 0 THEN nextval('turn') ELSE turn END AS turn FROM (SELECT * FROM picked ORDER BY due, turn) p
  ), moved AS (
    UPDATE task t SET
      state = CASE WHEN t.state = 0 THEN 1 WHEN t.cancel THEN 5 WHEN t.lost + 1 > t.max_lost THEN 4 ELSE 1 END,
      lost = t.lost + CASE WHEN t.state = 2 THEN 1 ELSE 0 END,
      error = CASE WHEN t.state = 2 AND NOT t.cancel AND t.lost + 1 > t.max_lost
        THEN convert_to('the lease was lost ' || t.lost + 1 || ' times, ' || t.max_lost || ' are allowed (MaxLost); the last worker was "', 'UTF8') || t.worker || '"'
        ELSE t.error END,
      turn = p.turn, due = NULL, since = now_, token = NULL, worker = NULL, cancel = false
    FROM placed p WHERE t.q = p_q AND t.id = p.id
    RETURNING t.id, p.was, t.state, t.unique_key
  ), freed AS (
    DELETE FROM held h USING moved m WHERE m.state >= 4 AND h.q = p_q AND h.key = m.unique_key AND h.id = m.id
  )
  INSERT INTO tally (q, slot, scheduled, active, pending, dead, cancelled, all_lost, all_dead, all_cancelled)
    SELECT p_q, slot(), -count(*) FILTER (WHERE was = 0), -count(*) FILTER (WHERE was = 2), count(*) FILTER (WHERE state = 1),
           count(*) FILTER (WHERE state = 4), count(*) FILTER (WHERE state = 5),
           count(*) FILTER (WHERE was = 2), count(*) FILTER (WHERE state = 4), count(*) FILTER (WHERE state = 5)
    FROM moved
    ON CONFLICT (q, slot) DO UPDATE SET scheduled = tally.scheduled + excluded.scheduled, active = tally.active + excluded.active,
      pending = tally.pending + excluded.pending, dead = tally.dead + excluded.dead, cancelled = tally.cancelled + excluded.cancelled,
      all_lost = tally.all_lost + excluded.all_lost, all_dead = tally.all_dead + excluded.all_dead, all_cancelled = tally.all_cancelled + excluded.all_cancelled;
END $$;

-- Leases up to p_max tasks of queues to a worker, and no more than about p_bytes of them. With nothing to give it answers
-- one row without a task, that says in how many µs something will be due, if anything.
CREATE FUNCTION queue_claim(p_ns integer, p_queues bytea[], p_max integer, p_bytes bigint, p_worker bytea, p_token text)
RETURNS TABLE (queue integer, id bytea, token text, lease bigint, body bytea, rank smallint, turn bigint,
               attempts integer, lost integer, error bytea, run_at timestamptz, due_in bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE r record; room bigint := p_max; bytes bigint := p_bytes; ids bytea[]; taken bigint; weight bigint;
  now_ timestamptz; first_due timestamptz; d timestamptz;
BEGIN
  FOR r IN SELECT u.n::int AS n, k.id, k.paused, coalesce(k.lease, 30000000) AS lease
    FROM unnest(p_queues) WITH ORDINALITY u(name, n) JOIN queue k ON k.ns = p_ns AND k.name = u.name ORDER BY u.n
  LOOP
    PERFORM queue_advance(r.id, 1000);
    now_ := clock_timestamp();
    PERFORM FROM task WHERE q = r.id AND state = 3 AND due <= now_ LIMIT 1;
    IF FOUND THEN PERFORM queue_forget(r.id, 100); END IF;
    CONTINUE WHEN r.paused;
    -- The sizes are summed up before anything is taken: where tasks are large, a part of them comes, but always one.
    SELECT array_agg(f.id), count(*), sum(f.size) INTO ids, taken, weight FROM (
      SELECT l.id, l.size, sum(l.size) OVER (ORDER BY l.rank, l.turn) - l.size AS before FROM (
        SELECT t.id, t.size, t.rank, t.turn FROM task t WHERE t.q = r.id AND t.state = 1 ORDER BY t.rank, t.turn LIMIT room FOR UPDATE SKIP LOCKED
      ) l
    ) f WHERE f.before < bytes;
    IF taken > 0 THEN
      RETURN QUERY UPDATE task t
        SET state = 2, due = ends_in(r.lease), since = clock_timestamp(), token = p_token || '-' || t.turn, worker = p_worker
        WHERE t.q = r.id AND t.id = ANY (ids)
        RETURNING r.n, t.id, t.token, r.lease, t.body, t.rank, t.turn, t.attempts, t.lost, t.error, t.run_at, NULL::bigint;
      room := room - taken;
      bytes := bytes - weight;
      INSERT INTO tally (q, slot, pending, active) VALUES (r.id, slot(), -taken, taken)
        ON CONFLICT (q, slot) DO UPDATE SET pending = tally.pending + excluded.pending, active = tally.active + excluded.active;
      EXIT WHEN room <= 0 OR bytes <= 0;
    END IF;
  END LOOP;
  IF room = p_max THEN
    FOR r IN SELECT k.id FROM unnest(p_queues) u(name) JOIN queue k ON k.ns = p_ns AND k.name = u.name LOOP
      SELECT t.due INTO d FROM task t WHERE t.q = r.id AND t.state IN (0, 2) ORDER BY t.due LIMIT 1;
      first_due := least(first_due, d);
    END LOOP;
    RETURN QUERY SELECT 0, NULL::bytea, NULL, NULL::bigint, NULL::bytea, NULL::smallint, NULL::bigint, NULL::integer, NULL::integer,
      NULL::bytea, NULL::timestamptz, greatest(0, extract(epoch FROM first_due - clock_timestamp()) * 1000000)::bigint;
  END IF;
END $$;

-- Gives tasks back to where they were in the line, and counts nothing: for those who claimed and did not wait for the answer.
CREATE FUNCTION queue_give_back(p_ns integer, p_queues bytea[], p_ids bytea[], p_tokens text[], p_wake text) RETURNS void
LANGUAGE plpgsql SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE woken bytea[]; counts bigint[];
BEGIN
  WITH input AS (
    SELECT u.*, k.id AS q FROM unnest(p_queues, p_ids, p_tokens) AS u(queue, id, token) JOIN queue k ON k.ns = p_ns AND k.name = u.queue
  ), given AS (
    UPDATE task t SET state = CASE WHEN t.cancel THEN 5 ELSE 1 END, due = NULL, since = clock_timestamp(), token = NULL, worker = NULL, cancel = false
      FROM input u WHERE t.q = u.q AND t.id = u.id AND t.token = u.token RETURNING t.q, t.id, t.state, t.unique_key, u.queue
  ), freed AS (
    DELETE FROM held h USING given g WHERE g.state = 5 AND h.q = g.q AND h.key = g.unique_key AND h.id = g.id
  ), counted AS (
    INSERT INTO tally (q, slot, active, pending, cancelled, all_cancelled)
      SELECT q, slot(), -count(*), count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 5), count(*) FILTER (WHERE state = 5)
      FROM given GROUP BY q ORDER BY q
      ON CONFLICT (q, slot) DO UPDATE SET active = tally.active + excluded.active, pending = tally.pending + excluded.pending,
        cancelled = tally.cancelled + excluded.cancelled, all_cancelled = tally.all_cancelled + excluded.all_cancelled
  )
  SELECT array_agg(queue), array_agg(n) INTO woken, counts FROM (SELECT queue, count(*) AS n FROM given WHERE state = 1 GROUP BY queue) w;
  IF woken IS NOT NULL THEN PERFORM queue_wake(p_ns, woken, counts, p_wake); END IF;
END $$;

-- Ends leases; see queue.Driver.Settle. Outcomes: 1 done, 2 retry, 3 snooze, 4 dead, 5 release. verdict: 0 done, 1 a repeat,
-- 2 an old number, 3 the number of another batch. stale are the settlements without a lease, from 1.
CREATE FUNCTION queue_settle(p_ns integer, p_worker bytea, p_number bigint, p_items integer, p_queues bytea[], p_ids bytea[], p_tokens text[],
                             p_outcomes smallint[], p_delays bigint[], p_errors bytea[], p_results bytea[], p_wake text,
                             OUT verdict integer, OUT last bigint, OUT stale integer[])
LANGUAGE plpgsql SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE a record; r record; now_ timestamptz; ended integer[]; moved integer[]; woken bytea[]; counts bigint[];
BEGIN
  -- The answer's row is locked first, so that a repeat waits for what it repeats.
  LOOP
    SELECT number, items, stale, forget INTO a FROM answer WHERE ns = p_ns AND worker = p_worker FOR UPDATE;
    EXIT WHEN FOUND;
    INSERT INTO answer (ns, worker, number, items, stale, forget) VALUES (p_ns, p_worker, 0, 0, '{}', clock_timestamp()) ON CONFLICT DO NOTHING;
  END LOOP;
  verdict := 0; last := a.number; stale := a.stale;
  now_ := clock_timestamp();
  IF p_number <= a.number AND a.forget > now_ THEN
    verdict := CASE WHEN p_number < a.number THEN 2 WHEN p_items <> a.items THEN 3 ELSE 1 END;
    RETURN;
  END IF;

  -- What is done and not to be kept.
  WITH input AS (
    SELECT u.*, k.id AS q FROM unnest(p_queues, p_ids, p_tokens, p_outcomes) WITH ORDINALITY AS u(queue, id, token, outcome, n)
      JOIN queue k ON k.ns = p_ns AND k.name = u.queue
  ), ended AS (
    DELETE FROM task t USING input u
      WHERE t.q = u.q AND t.id = u.id AND t.token = u.token AND u.outcome = 1 AND t.retention IS NULL
      RETURNING u.n::int AS n, t.q, t.id, t.unique_key, t.callers
  ), freed AS (
    DELETE FROM held h USING ended e WHERE e.unique_key IS NOT NULL AND h.q = e.q AND h.key = e.unique_key AND h.id = e.id
  ), remembered AS (
    SELECT count(task_gone(e.q, e.id, now_)) AS n FROM ended e WHERE e.callers
  ), counted AS (
    INSERT INTO tally (q, slot, active, all_completed) SELECT q, slot(), -count(*), count(*) FROM ended GROUP BY q ORDER BY q
      ON CONFLICT (q, slot) DO UPDATE SET active = tally.active + excluded.active, all_completed = tally.all_completed + excluded.all_completed
  )
  SELECT array_agg(e.n) INTO ended FROM ended e, remembered;

  -- All else.
  IF coalesce(cardinality(ended), 0) < cardinality(p_ids) THEN
    WITH input AS (
      SELECT u.*, k.id AS q FROM unnest(p_queues, p_ids, p_tokens, p_outcomes, p_delays, p_errors, p_results)
        WITH ORDINALITY AS u(queue, id, token, outcome, delay, error, result, n)
        JOIN queue k ON k.ns = p_ns AND k.name = u.queue
    ), changed AS (
      UPDATE task t SET
        state = CASE WHEN u.outcome = 1 THEN 3 WHEN t.cancel THEN 5 WHEN u.outcome = 4 THEN 4
                     WHEN u.outcome IN (2, 3) AND u.delay > 0 THEN 0 ELSE 1 END,
        due = CASE WHEN u.outcome = 1 THEN now_ + t.retention * interval '1 microsecond'
                   WHEN NOT t.cancel AND u.outcome IN (2, 3) AND u.delay > 0 THEN now_ + u.delay * interval '1 microsecond' END,
        run_at = CASE WHEN NOT t.cancel AND u.outcome IN (2, 3) THEN now_ + u.delay * interval '1 microsecond' ELSE t.run_at END,
        turn = CASE WHEN u.outcome IN (2, 3) THEN nextval('turn') ELSE t.turn END,
        attempts = t.attempts + CASE WHEN u.outcome IN (2, 4) THEN 1 ELSE 0 END,
        error = CASE WHEN u.outcome IN (2, 4) THEN u.error WHEN u.outcome = 3 THEN coalesce(u.error, t.error) ELSE t.error END,
        result = CASE WHEN u.outcome = 1 THEN u.result END,
        since = now_, token = NULL, worker = NULL, cancel = false
      FROM input u WHERE t.q = u.q AND t.id = u.id AND t.token = u.token AND (u.outcome <> 1 OR t.retention IS NOT NULL)
      RETURNING u.n::int AS n, t.q, t.id, t.state, u.outcome, t.unique_key, u.queue, u.delay
    ), freed AS (
      DELETE FROM held h USING changed e WHERE e.state >= 3 AND e.unique_key IS NOT NULL AND h.q = e.q AND h.key = e.unique_key AND h.id = e.id
    ), counted AS (
      INSERT INTO tally (q, slot, active, scheduled, pending, completed, dead, cancelled,
                         all_completed, all_retried, all_snoozed, all_released, all_dead, all_cancelled)
        SELECT q, slot(), -count(*), count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 3),
               count(*) FILTER (WHERE state = 4), count(*) FILTER (WHERE state = 5),
               count(*) FILTER (WHERE state = 3), count(*) FILTER (WHERE state < 2 AND outcome = 2), count(*) FILTER (WHERE state < 2 AND outcome = 3),
               count(*) FILTER (WHERE state < 2 AND outcome = 5), count(*) FILTER (WHERE state = 4), count(*) FILTER (WHERE state = 5)
        FROM changed GROUP BY q ORDER BY q
        ON CONFLICT (q, slot) DO UPDATE SET active = tally.active + excluded.active, scheduled = tally.scheduled + excluded.scheduled,
          pending = tally.pending + excluded.pending, completed = tally.completed + excluded.completed, dead = tally.dead + excluded.dead,
          cancelled = tally.cancelled + excluded.cancelled, all_completed = tally.all_completed + excluded.all_completed,
          all_retried = tally.all_retried + excluded.all_retried, all_snoozed = tally.all_snoozed + excluded.all_snoozed,
          all_released = tally.all_released + excluded.all_released, all_dead = tally.all_dead + excluded.all_dead,
          all_cancelled = tally.all_cancelled + excluded.all_cancelled
    ), woken AS (
      SELECT queue, count(*) AS n FROM changed WHERE state = 1 OR state = 0 AND delay < 1000000 GROUP BY queue
    )
    SELECT (SELECT array_agg(n) FROM changed), array_agg(w.queue), array_agg(w.n) FROM woken w INTO moved, woken, counts;
    IF woken IS NOT NULL THEN PERFORM queue_wake(p_ns, woken, counts, p_wake); END IF;
  END IF;

  stale := '{}';
  IF coalesce(cardinality(ended), 0) + coalesce(cardinality(moved), 0) < cardinality(p_ids) THEN
    SELECT array_agg(u.n::int ORDER BY u.n) INTO stale
      FROM unnest(p_ids) WITH ORDINALITY u(id, n)
      WHERE coalesce(u.n <> ALL (ended), true) AND coalesce(u.n <> ALL (moved), true);
    INSERT INTO tally (q, slot, all_stale)
      SELECT k.id, slot(), count(*) FROM unnest(p_queues) WITH ORDINALITY u(queue, n) JOIN queue k ON k.ns = p_ns AND k.name = u.queue
      WHERE u.n = ANY (stale) GROUP BY k.id ORDER BY k.id
      ON CONFLICT (q, slot) DO UPDATE SET all_stale = tally.all_stale + excluded.all_stale;
  END IF;
  UPDATE answer SET number = p_number, items = p_items, stale = queue_settle.stale,
      forget = date_bin('5 minutes', now_, '2000-01-01') + interval '16 minutes'
    WHERE ns = p_ns AND worker = p_worker;
  DELETE FROM answer WHERE ns = p_ns AND worker = ANY (ARRAY(
    SELECT worker FROM answer WHERE ns = p_ns AND number > 0 AND forget <= now_ ORDER BY forget LIMIT 2 FOR UPDATE SKIP LOCKED))
    AND forget <= now_;
END $$;

-- Makes leases end one lease from now: a row for each that is stale (code 7), or whose task is to be cancelled (8).
CREATE FUNCTION queue_extend(p_ns integer, p_queues bytea[], p_ids bytea[], p_tokens text[])
RETURNS TABLE (i integer, code integer)
LANGUAGE plpgsql SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY WITH input AS (
    SELECT * FROM unnest(p_queues, p_ids, p_tokens) WITH ORDINALITY AS u(queue, id, token, n)
  ), extended AS (
    UPDATE task t SET due = ends_in(coalesce(k.lease, 30000000))
      FROM input u JOIN queue k ON k.ns = p_ns AND k.name = u.queue
      WHERE t.q = k.id AND t.id = u.id AND t.token = u.token
      RETURNING t.q, t.id, t.cancel, u.queue
  )
  SELECT u.n::int, CASE WHEN e.q IS NULL THEN 7 ELSE 8 END
    FROM input u LEFT JOIN extended e ON e.queue = u.queue AND e.id = u.id
    WHERE e.q IS NULL OR e.cancel;
END $$;
