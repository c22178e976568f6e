-- Locks. Batches are sorted by name. See cache.sql for the codes.

-- Takes locks: code 0 with the lease's fence and end, or 1 with those of whoever has it. With p_mark the one who has it is
-- to notify its release. A fence begins at the time of day in µs, so what was forgotten does not repeat.
CREATE FUNCTION lock_acquire(p_ns integer, p_names bytea[], p_holders bytea[], p_ttls bigint[], p_mark boolean)
RETURNS TABLE (i integer, code integer, holder bytea, fence bigint, ends timestamptz, ms_left bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; l record; now_ timestamptz;
BEGIN
  FOR e IN SELECT * FROM unnest(p_names, p_holders, p_ttls) WITH ORDINALITY AS u(name, holder, ttl, n) LOOP
    LOOP
      INSERT INTO lock AS k (ns, name, holder, fence, ttl, ends, waited, forget)
        VALUES (p_ns, e.name, e.holder, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, e.ttl, ends_in(e.ttl), false,
                date_trunc('hour', ends_in(e.ttl)) + interval '25 hours')
        ON CONFLICT (ns, name) DO UPDATE SET holder = excluded.holder, fence = greatest(k.fence + 1, excluded.fence),
          ttl = excluded.ttl, ends = ends_in(e.ttl), waited = false, forget = greatest(k.forget, excluded.forget)
          WHERE k.ends <= clock_timestamp()
        RETURNING fence, ends INTO l;
      IF FOUND THEN
        RETURN QUERY SELECT e.n::int, 0, e.holder, l.fence, l.ends, NULL::bigint;
        EXIT;
      END IF;
      IF p_mark THEN
        UPDATE lock SET waited = true WHERE ns = p_ns AND name = e.name AND ends > clock_timestamp()
          RETURNING holder, ends INTO l;
      ELSE
        SELECT holder, ends INTO l FROM lock WHERE ns = p_ns AND name = e.name;
      END IF;
      now_ := clock_timestamp();
      IF FOUND AND l.ends > now_ THEN
        RETURN QUERY SELECT e.n::int, 1, l.holder, NULL::bigint, l.ends, ceil(extract(epoch FROM l.ends - now_) * 1000)::bigint;
        EXIT;
      END IF;
    END LOOP;
  END LOOP;
  now_ := clock_timestamp();
  DELETE FROM lock WHERE ns = p_ns AND name = ANY (ARRAY(
    SELECT name FROM lock WHERE ns = p_ns AND forget <= now_ ORDER BY forget LIMIT 8 FOR UPDATE SKIP LOCKED))
    AND forget <= now_ AND ends <= now_;
END $$;

-- Makes leases end their lifetime from now. A fence of 0 is not compared. A row has the fence and end, or code 7.
CREATE FUNCTION lock_renew(p_ns integer, p_names bytea[], p_holders bytea[], p_fences bigint[], p_ttls bigint[])
RETURNS TABLE (i integer, code integer, fence bigint, ends timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; l record;
BEGIN
  FOR e IN SELECT * FROM unnest(p_names, p_holders, p_fences, p_ttls) WITH ORDINALITY AS u(name, holder, fence, ttl, n) LOOP
    UPDATE lock SET ends = ends_in(e.ttl), ttl = e.ttl,
        forget = greatest(forget, date_trunc('hour', ends_in(e.ttl)) + interval '25 hours')
      WHERE ns = p_ns AND name = e.name AND holder = e.holder AND ends > clock_timestamp() AND (e.fence = 0 OR fence = e.fence)
      RETURNING fence, ends INTO l;
    IF FOUND THEN
      RETURN QUERY SELECT e.n::int, 0, l.fence, l.ends;
    ELSE
      RETURN QUERY SELECT e.n::int, 7, NULL::bigint, NULL::timestamptz;
    END IF;
  END LOOP;
END $$;

-- Ends leases, and notifies where somebody waits. A row is a lease that was lost.
CREATE FUNCTION lock_release(p_ns integer, p_names bytea[], p_holders bytea[], p_fences bigint[], p_wake text)
RETURNS TABLE (i integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; l record;
BEGIN
  FOR e IN SELECT * FROM unnest(p_names, p_holders, p_fences) WITH ORDINALITY AS u(name, holder, fence, n) LOOP
    UPDATE lock SET ends = '-infinity', forget = greatest(forget, date_trunc('hour', clock_timestamp()) + interval '25 hours')
      WHERE ns = p_ns AND name = e.name AND holder = e.holder AND ends > clock_timestamp() AND (e.fence = 0 OR fence = e.fence)
      RETURNING waited INTO l;
    IF NOT FOUND THEN
      RETURN QUERY SELECT e.n::int;
    ELSIF l.waited THEN
      PERFORM pg_notify(p_wake, 'l ' || encode(e.name, 'hex'));
    END IF;
  END LOOP;
END $$;
