-- What an operator asks of queues. Tasks are named one by one; each has a code: 0 done, 3 conflict (with its state, or with
-- the task that holds its unique key), 4 not there.

-- A task, locked, unless its time is over.
CREATE FUNCTION task_open(p_q integer, p_id bytea) RETURNS SETOF task LANGUAGE sql AS $$
  SELECT * FROM task WHERE q = p_q AND id = p_id AND NOT (state = 3 AND due <= clock_timestamp()) FOR UPDATE
$$;

-- Counts a task that was in one state and comes into another, or into none.
CREATE FUNCTION task_count(p_q integer, was smallint, becomes smallint) RETURNS void LANGUAGE sql AS $$
  INSERT INTO tally (q, slot, scheduled, pending, active, completed, dead, cancelled, all_cancelled)
    SELECT p_q, slot(), d[1], d[2], d[3], d[4], d[5], d[6], CASE WHEN becomes = 5 THEN 1 ELSE 0 END
    FROM (SELECT array_agg((becomes IS NOT DISTINCT FROM s)::int - (was = s)::int ORDER BY s) AS d FROM generate_series(0, 5) s) x
    ON CONFLICT (q, slot) DO UPDATE SET scheduled = tally.scheduled + excluded.scheduled, pending = tally.pending + excluded.pending,
      active = tally.active + excluded.active, completed = tally.completed + excluded.completed, dead = tally.dead + excluded.dead,
      cancelled = tally.cancelled + excluded.cancelled, all_cancelled = tally.all_cancelled + excluded.all_cancelled
$$;

CREATE FUNCTION queue_remove(p_ns integer, p_queue bytea, p_ids bytea[]) RETURNS TABLE (i integer, code integer, state smallint, other bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; t task; k integer;
BEGIN
  SELECT id INTO k FROM queue WHERE ns = p_ns AND name = p_queue;
  FOR e IN SELECT * FROM unnest(p_ids) WITH ORDINALITY AS u(id, n) LOOP
    SELECT * INTO t FROM task_open(k, e.id);
    IF t.id IS NULL THEN
      RETURN QUERY SELECT e.n::int, 4, NULL::smallint, NULL::bytea;
    ELSIF t.state = 2 THEN
      RETURN QUERY SELECT e.n::int, 3, t.state, NULL::bytea;
    ELSE
      DELETE FROM task WHERE q = k AND id = e.id;
      IF t.unique_key IS NOT NULL THEN PERFORM task_unheld(k, t.id, t.unique_key); END IF;
      IF t.callers THEN PERFORM task_gone(k, t.id, clock_timestamp()); END IF;
      PERFORM task_count(k, t.state, NULL);
    END IF;
  END LOOP;
END $$;

CREATE FUNCTION queue_requeue(p_ns integer, p_queue bytea, p_ids bytea[], p_wake text)
RETURNS TABLE (i integer, code integer, state smallint, other bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; t task; k integer; holder bytea; n bigint := 0; now_ timestamptz;
BEGIN
  SELECT id INTO k FROM queue WHERE ns = p_ns AND name = p_queue;
  FOR e IN SELECT * FROM unnest(p_ids) WITH ORDINALITY AS u(id, n) LOOP
    SELECT * INTO t FROM task_open(k, e.id);
    IF t.id IS NULL THEN
      RETURN QUERY SELECT e.n::int, 4, NULL::smallint, NULL::bytea;
      CONTINUE;
    ELSIF t.state IN (1, 2) THEN
      RETURN QUERY SELECT e.n::int, 3, t.state, NULL::bytea;
      CONTINUE;
    END IF;
    IF t.state <> 0 AND t.unique_key IS NOT NULL THEN
      holder := task_hold(k, t.id, t.unique_key, t.unique_for);
      IF holder IS NOT NULL THEN
        RETURN QUERY SELECT e.n::int, 3, t.state, holder;
        CONTINUE;
      END IF;
    END IF;
    now_ := clock_timestamp();
    UPDATE task SET state = 1, turn = nextval('turn'), due = NULL, run_at = now_, since = now_, result = NULL,
        attempts = CASE WHEN t.state = 0 THEN attempts ELSE 0 END, lost = CASE WHEN t.state = 0 THEN lost ELSE 0 END
      WHERE q = k AND id = e.id;
    PERFORM task_count(k, t.state, 1::smallint);
    n := n + 1;
  END LOOP;
  IF n > 0 THEN PERFORM queue_wake(p_ns, ARRAY[p_queue], ARRAY[n], p_wake); END IF;
END $$;

CREATE FUNCTION queue_cancel(p_ns integer, p_queue bytea, p_ids bytea[]) RETURNS TABLE (i integer, code integer, state smallint, other bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; t task; k integer;
BEGIN
  SELECT id INTO k FROM queue WHERE ns = p_ns AND name = p_queue;
  FOR e IN SELECT * FROM unnest(p_ids) WITH ORDINALITY AS u(id, n) LOOP
    SELECT * INTO t FROM task_open(k, e.id);
    IF t.id IS NULL THEN
      RETURN QUERY SELECT e.n::int, 4, NULL::smallint, NULL::bytea;
    ELSIF t.state >= 3 THEN
      RETURN QUERY SELECT e.n::int, 3, t.state, NULL::bytea;
    ELSIF t.state = 2 THEN
      UPDATE task SET cancel = true WHERE q = k AND id = e.id;
    ELSE
      UPDATE task SET state = 5, due = NULL, since = clock_timestamp() WHERE q = k AND id = e.id;
      IF t.unique_key IS NOT NULL THEN PERFORM task_unheld(k, t.id, t.unique_key); END IF;
      PERFORM task_count(k, t.state, 5::smallint);
    END IF;
  END LOOP;
END $$;

-- One queue's counts; all zeros and no name for one that is not there.
CREATE FUNCTION queue_stats(p_ns integer, p_queue bytea)
RETURNS TABLE (paused boolean, oldest_us bigint, counts bigint[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE k record; oldest timestamptz;
BEGIN
  SELECT id, paused INTO k FROM queue WHERE ns = p_ns AND name = p_queue;
  IF NOT FOUND THEN RETURN; END IF;
  PERFORM queue_forget(k.id, 1000);
  SELECT accepted INTO oldest FROM task WHERE q = k.id AND state = 1 ORDER BY rank, turn LIMIT 1;
  RETURN QUERY SELECT k.paused, coalesce(extract(epoch FROM clock_timestamp() - oldest) * 1000000, 0)::bigint,
    ARRAY[sum(pending), sum(scheduled), sum(active), sum(completed), sum(dead), sum(cancelled),
          sum(all_enqueued), sum(all_duplicates), sum(all_completed), sum(all_retried), sum(all_snoozed),
          sum(all_released), sum(all_dead), sum(all_cancelled), sum(all_lost), sum(all_stale)]::bigint[]
    FROM tally WHERE q = k.id;
END $$;

-- Pauses a queue, or lets it go on.
CREATE FUNCTION queue_pause(p_ns integer, p_queue bytea, p_paused boolean, p_wake text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_paused THEN PERFORM queue_open(p_ns, ARRAY[p_queue]); END IF;
  UPDATE queue SET paused = p_paused WHERE ns = p_ns AND name = p_queue;
  IF NOT p_paused AND FOUND THEN PERFORM queue_wake(p_ns, ARRAY[p_queue], ARRAY[1000::bigint], p_wake); END IF;
END $$;
