-- Lists. Batches are sorted by name. See cache.sql for the codes.

-- Removes a list with its values, and up to 4 others whose time is over.
CREATE FUNCTION list_remove(p_list bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM item WHERE list = p_list;
  DELETE FROM list WHERE id = p_list;
END $$;

CREATE FUNCTION list_sweep(p_ns integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE l record; now_ timestamptz := clock_timestamp();
BEGIN
  FOR l IN SELECT id FROM list WHERE ns = p_ns AND expires <= now_ ORDER BY expires LIMIT 4 FOR UPDATE SKIP LOCKED LOOP
    PERFORM list_remove(l.id);
  END LOOP;
END $$;

-- A list, locked: its id, head and tail; no row where there is none. One whose time is over is removed.
CREATE FUNCTION list_open(p_ns integer, p_name bytea, OUT id bigint, OUT head bigint, OUT tail bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE over boolean;
BEGIN
  SELECT id, head, tail, coalesce(expires <= clock_timestamp(), false) INTO id, head, tail, over
    FROM list WHERE ns = p_ns AND name = p_name FOR UPDATE;
  IF over THEN
    PERFORM list_remove(id);
    id := NULL;
  END IF;
END $$;

-- Appends all values of one push; p_counts says how many of p_values belong to each.
CREATE FUNCTION list_push(p_ns integer, p_names bytea[], p_fronts boolean[], p_ttls bigint[], p_counts integer[], p_values bytea[],
                          p_holders bytea[], p_fences bigint[])
RETURNS TABLE (i integer, code integer, holder bytea, fence bigint, ends timestamptz, length bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; a record; l record; passed integer := 0;
BEGIN
  FOR e IN SELECT * FROM unnest(p_names, p_fronts, p_ttls, p_counts, p_holders, p_fences)
    WITH ORDINALITY AS u(name, front, ttl, count, holder, fence, n)
  LOOP
    SELECT * INTO a FROM admit(p_ns, e.name, e.holder, e.fence);
    IF a.code <> 0 THEN
      RETURN QUERY SELECT e.n::int, a.code, a.holder, a.fence, a.ends, NULL::bigint;
      passed := passed + e.count;
      CONTINUE;
    END IF;
    LOOP
      SELECT * INTO l FROM list_open(p_ns, e.name);
      EXIT WHEN l.id IS NOT NULL;
      INSERT INTO list (ns, name, head, tail) VALUES (p_ns, e.name, 0, 0) ON CONFLICT DO NOTHING;
    END LOOP;
    INSERT INTO item (list, place, value)
      SELECT l.id, CASE WHEN e.front THEN l.head - u.n ELSE l.tail + u.n - 1 END, u.value
      FROM unnest(p_values[passed + 1 : passed + e.count]) WITH ORDINALITY AS u(value, n);
    passed := passed + e.count;
    UPDATE list SET head = l.head - CASE WHEN e.front THEN e.count ELSE 0 END,
                    tail = l.tail + CASE WHEN e.front THEN 0 ELSE e.count END,
                    expires = CASE WHEN e.ttl > 0 THEN ends_in(e.ttl) ELSE expires END
      WHERE ns = p_ns AND name = e.name;
    RETURN QUERY SELECT e.n::int, 0, NULL::bytea, NULL::bigint, NULL::timestamptz, l.tail - l.head + e.count;
  END LOOP;
  PERFORM list_sweep(p_ns);
END $$;

-- Takes up to max values; a row for each, in order.
CREATE FUNCTION list_pop(p_ns integer, p_names bytea[], p_maxs bigint[], p_backs boolean[], p_holders bytea[], p_fences bigint[])
RETURNS TABLE (i integer, code integer, holder bytea, fence bigint, ends timestamptz, value bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; a record; l record; first bigint; last bigint;
BEGIN
  FOR e IN SELECT * FROM unnest(p_names, p_maxs, p_backs, p_holders, p_fences)
    WITH ORDINALITY AS u(name, max, back, holder, fence, n)
  LOOP
    SELECT * INTO a FROM admit(p_ns, e.name, e.holder, e.fence);
    IF a.code <> 0 THEN
      RETURN QUERY SELECT e.n::int, a.code, a.holder, a.fence, a.ends, NULL::bytea;
      CONTINUE;
    END IF;
    SELECT * INTO l FROM list_open(p_ns, e.name);
    CONTINUE WHEN l.id IS NULL;
    first := CASE WHEN e.back THEN greatest(l.head, l.tail - e.max) ELSE l.head END;
    last := CASE WHEN e.back THEN l.tail ELSE least(l.tail, l.head + e.max) END; -- not taken itself
    RETURN QUERY WITH taken AS (DELETE FROM item WHERE list = l.id AND place >= first AND place < last RETURNING place, value)
      SELECT e.n::int, 0, NULL::bytea, NULL::bigint, NULL::timestamptz, t.value FROM taken t
      ORDER BY CASE WHEN e.back THEN -t.place ELSE t.place END;
    IF first = l.head AND last = l.tail THEN
      DELETE FROM list WHERE id = l.id;
    ELSIF e.back THEN
      UPDATE list SET tail = first WHERE id = l.id;
    ELSE
      UPDATE list SET head = last WHERE id = l.id;
    END IF;
  END LOOP;
END $$;

-- Reads up to max values from start on; a row for each, in order.
CREATE FUNCTION list_range(p_ns integer, p_names bytea[], p_starts bigint[], p_maxs bigint[], p_holders bytea[], p_fences bigint[])
RETURNS TABLE (i integer, code integer, holder bytea, fence bigint, ends timestamptz, value bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; a record;
BEGIN
  FOR e IN SELECT * FROM unnest(p_names, p_starts, p_maxs, p_holders, p_fences)
    WITH ORDINALITY AS u(name, start, max, holder, fence, n)
  LOOP
    SELECT * INTO a FROM admit(p_ns, e.name, e.holder, e.fence);
    IF a.code <> 0 THEN
      RETURN QUERY SELECT e.n::int, a.code, a.holder, a.fence, a.ends, NULL::bytea;
      CONTINUE;
    END IF;
    RETURN QUERY SELECT e.n::int, 0, NULL::bytea, NULL::bigint, NULL::timestamptz, x.value
      FROM list l JOIN item x ON x.list = l.id AND x.place >= l.head + e.start AND x.place < least(l.tail, l.head + e.start + e.max)
      WHERE l.ns = p_ns AND l.name = e.name AND (l.expires IS NULL OR l.expires > clock_timestamp())
      ORDER BY x.place;
  END LOOP;
END $$;

-- Counts the values of lists; a row where there are some.
CREATE FUNCTION list_length(p_ns integer, p_names bytea[], p_holders bytea[], p_fences bigint[])
RETURNS TABLE (i integer, code integer, holder bytea, fence bigint, ends timestamptz, length bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; a record;
BEGIN
  FOR e IN SELECT * FROM unnest(p_names, p_holders, p_fences) WITH ORDINALITY AS u(name, holder, fence, n) LOOP
    SELECT * INTO a FROM admit(p_ns, e.name, e.holder, e.fence);
    IF a.code <> 0 THEN
      RETURN QUERY SELECT e.n::int, a.code, a.holder, a.fence, a.ends, NULL::bigint;
      CONTINUE;
    END IF;
    RETURN QUERY SELECT e.n::int, 0, NULL::bytea, NULL::bigint, NULL::timestamptz, tail - head
      FROM list WHERE ns = p_ns AND name = e.name AND (expires IS NULL OR expires > clock_timestamp());
  END LOOP;
END $$;

-- Removes whole lists. A row with code 0 says that there was one.
CREATE FUNCTION list_drop(p_ns integer, p_names bytea[], p_holders bytea[], p_fences bigint[])
RETURNS TABLE (i integer, code integer, holder bytea, fence bigint, ends timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; a record; l record;
BEGIN
  FOR e IN SELECT * FROM unnest(p_names, p_holders, p_fences) WITH ORDINALITY AS u(name, holder, fence, n) LOOP
    SELECT * INTO a FROM admit(p_ns, e.name, e.holder, e.fence);
    IF a.code <> 0 THEN
      RETURN QUERY SELECT e.n::int, a.code, a.holder, a.fence, a.ends;
      CONTINUE;
    END IF;
    SELECT * INTO l FROM list_open(p_ns, e.name);
    IF l.id IS NOT NULL THEN
      PERFORM list_remove(l.id);
      RETURN QUERY SELECT e.n::int, 0, NULL::bytea, NULL::bigint, NULL::timestamptz;
    END IF;
  END LOOP;
END $$;
