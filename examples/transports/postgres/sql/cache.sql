-- Cache entries and counters. Each function takes a batch as arrays, sorted by key so that two batches cannot wait for
-- each other in a circle, and does its elements one after another in one transaction. It answers rows for those elements
-- that did not simply succeed, and for those that have something to tell; i is the element, from 1.
--
-- Codes: 0 done, 1 the lock is held by another (holder, ends), 2 the fence is old (fence), 3 the condition did not hold,
-- 4 not there, 5 no number, 6 overflow, 7 the lease is lost.

-- The end of a lifetime that begins now; null for none.
CREATE FUNCTION ends_in(ttl bigint) RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
  SELECT CASE WHEN ttl > 0 THEN clock_timestamp() + ttl * interval '1 microsecond' END
$$;

-- Whether the lock named like the key lets an operation with this guard pass. The lock's row stays share-locked until the
-- transaction ends, so that nobody can take the lock between the question and what is done then; where there is no row one
-- is made, for the same reason.
CREATE FUNCTION admit(p_ns integer, p_key bytea, p_holder bytea, p_fence bigint,
                      OUT code integer, OUT holder bytea, OUT fence bigint, OUT ends timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE l record;
BEGIN
  code := 0;
  IF p_holder IS NULL AND p_fence = 0 THEN RETURN; END IF;
  LOOP
    SELECT holder, fence, ends INTO l FROM lock WHERE ns = p_ns AND name = p_key FOR SHARE;
    EXIT WHEN FOUND;
    INSERT INTO lock (ns, name, holder, fence, ttl, ends, waited, forget)
      VALUES (p_ns, p_key, '', 0, 0, '-infinity', false, date_trunc('hour', clock_timestamp()) + interval '25 hours')
      ON CONFLICT DO NOTHING;
  END LOOP;
  IF p_holder IS NOT NULL AND l.ends > clock_timestamp() AND l.holder <> p_holder THEN
    code := 1;
  ELSIF p_fence <> 0 AND p_fence < l.fence THEN
    code := 2;
  END IF;
  holder := l.holder; fence := l.fence;
  IF code = 1 THEN ends := l.ends; END IF;
END $$;

-- Sweeps up to n entries away whose time is over.
CREATE FUNCTION cache_sweep(p_ns integer, n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE now_ timestamptz := clock_timestamp();
BEGIN
  DELETE FROM entry WHERE ns = p_ns AND key = ANY (ARRAY(
    SELECT key FROM entry WHERE ns = p_ns AND expires <= now_ ORDER BY expires LIMIT n FOR UPDATE SKIP LOCKED))
    AND expires <= now_;
END $$;

-- Guarded reads. The others are a plain SELECT, in cache_get.go.
CREATE FUNCTION cache_get(p_ns integer, p_keys bytea[], p_holders bytea[], p_fences bigint[])
RETURNS TABLE (i integer, code integer, holder bytea, fence bigint, ends timestamptz,
               value bytea, flags smallint, revision bytea, created bigint, expires timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; a record;
BEGIN
  FOR e IN SELECT * FROM unnest(p_keys, p_holders, p_fences) WITH ORDINALITY AS u(key, holder, fence, n) LOOP
    SELECT * INTO a FROM admit(p_ns, e.key, e.holder, e.fence);
    IF a.code <> 0 THEN
      RETURN QUERY SELECT e.n::int, a.code, a.holder, a.fence, a.ends,
        NULL::bytea, NULL::smallint, NULL::bytea, NULL::bigint, NULL::timestamptz;
    ELSE
      RETURN QUERY SELECT e.n::int, 0, NULL::bytea, NULL::bigint, NULL::timestamptz, value, flags, revision, created, expires
        FROM entry WHERE ns = p_ns AND key = e.key AND (expires IS NULL OR expires > clock_timestamp());
    END IF;
  END LOOP;
END $$;

-- Writes without condition or guard, of different keys.
CREATE FUNCTION cache_put(p_ns integer, p_created bigint, p_keys bytea[], p_values bytea[], p_flags smallint[],
                          p_ttls bigint[], p_revisions bytea[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO entry (ns, key, value, flags, revision, created, expires)
    SELECT p_ns, u.key, u.value, u.flags, u.revision, p_created, ends_in(u.ttl)
    FROM unnest(p_keys, p_values, p_flags, p_ttls, p_revisions) AS u(key, value, flags, ttl, revision)
    ON CONFLICT (ns, key) DO UPDATE SET value = excluded.value, flags = excluded.flags, revision = excluded.revision,
      created = excluded.created, expires = excluded.expires;
  IF 0 < ANY (p_ttls) THEN PERFORM cache_sweep(p_ns, 2 * cardinality(p_keys) + 16); END IF;
END $$;

-- All other writes. Conditions: 0 always, 1 absent, 2 present, 3 at the revision want.
CREATE FUNCTION cache_set(p_ns integer, p_created bigint, p_keys bytea[], p_values bytea[], p_flags smallint[],
                          p_ttls bigint[], p_revisions bytea[], p_conditions smallint[], p_wants bytea[],
                          p_holders bytea[], p_fences bigint[])
RETURNS TABLE (i integer, code integer, holder bytea, fence bigint, ends timestamptz, there bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; a record; done boolean; found_ bytea;
BEGIN
  FOR e IN SELECT * FROM unnest(p_keys, p_values, p_flags, p_ttls, p_revisions, p_conditions, p_wants, p_holders, p_fences)
    WITH ORDINALITY AS u(key, value, flags, ttl, revision, condition, want, holder, fence, n)
  LOOP
    SELECT * INTO a FROM admit(p_ns, e.key, e.holder, e.fence);
    IF a.code <> 0 THEN
      RETURN QUERY SELECT e.n::int, a.code, a.holder, a.fence, a.ends, NULL::bytea;
      CONTINUE;
    END IF;
    IF e.condition >= 2 THEN
      UPDATE entry SET value = e.value, flags = e.flags, revision = e.revision, created = p_created, expires = ends_in(e.ttl)
        WHERE ns = p_ns AND key = e.key AND (expires IS NULL OR expires > clock_timestamp())
          AND (e.condition = 2 OR revision = e.want);
      done := FOUND;
    ELSE
      INSERT INTO entry (ns, key, value, flags, revision, created, expires)
        VALUES (p_ns, e.key, e.value, e.flags, e.revision, p_created, ends_in(e.ttl))
        ON CONFLICT (ns, key) DO UPDATE SET value = excluded.value, flags = excluded.flags, revision = excluded.revision,
          created = excluded.created, expires = excluded.expires
          WHERE e.condition = 0 OR entry.expires <= clock_timestamp();
      done := FOUND;
    END IF;
    IF NOT done THEN
      SELECT revision INTO found_ FROM entry
        WHERE ns = p_ns AND key = e.key AND (expires IS NULL OR expires > clock_timestamp());
      RETURN QUERY SELECT e.n::int, 3, NULL::bytea, NULL::bigint, NULL::timestamptz, found_;
    END IF;
  END LOOP;
  IF 0 < ANY (p_ttls) THEN PERFORM cache_sweep(p_ns, 2 * cardinality(p_keys) + 16); END IF;
END $$;

-- Removes entries. A row with code 0 says that there was one.
CREATE FUNCTION cache_delete(p_ns integer, p_keys bytea[], p_conditions smallint[], p_wants bytea[],
                             p_holders bytea[], p_fences bigint[])
RETURNS TABLE (i integer, code integer, holder bytea, fence bigint, ends timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; a record; live boolean;
BEGIN
  FOR e IN SELECT * FROM unnest(p_keys, p_conditions, p_wants, p_holders, p_fences)
    WITH ORDINALITY AS u(key, condition, want, holder, fence, n)
  LOOP
    SELECT * INTO a FROM admit(p_ns, e.key, e.holder, e.fence);
    IF a.code <> 0 THEN
      RETURN QUERY SELECT e.n::int, a.code, a.holder, a.fence, a.ends;
      CONTINUE;
    END IF;
    DELETE FROM entry WHERE ns = p_ns AND key = e.key AND (e.condition <> 3 OR revision = e.want)
      RETURNING expires IS NULL OR expires > clock_timestamp() INTO live;
    IF FOUND AND live THEN
      RETURN QUERY SELECT e.n::int, 0, NULL::bytea, NULL::bigint, NULL::timestamptz;
    ELSIF e.condition >= 2 THEN
      RETURN QUERY SELECT e.n::int, 3, NULL::bytea, NULL::bigint, NULL::timestamptz;
    END IF;
  END LOOP;
END $$;

CREATE FUNCTION cache_touch(p_ns integer, p_keys bytea[], p_ttls bigint[], p_holders bytea[], p_fences bigint[])
RETURNS TABLE (i integer, code integer, holder bytea, fence bigint, ends timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; a record;
BEGIN
  FOR e IN SELECT * FROM unnest(p_keys, p_ttls, p_holders, p_fences) WITH ORDINALITY AS u(key, ttl, holder, fence, n) LOOP
    SELECT * INTO a FROM admit(p_ns, e.key, e.holder, e.fence);
    IF a.code = 0 THEN
      UPDATE entry SET expires = ends_in(e.ttl)
        WHERE ns = p_ns AND key = e.key AND (expires IS NULL OR expires > clock_timestamp());
      IF NOT FOUND THEN a.code := 4; END IF;
    END IF;
    IF a.code <> 0 THEN RETURN QUERY SELECT e.n::int, a.code, a.holder, a.fence, a.ends; END IF;
  END LOOP;
  IF 0 < ANY (p_ttls) THEN PERFORM cache_sweep(p_ns, 2 * cardinality(p_keys) + 16); END IF;
END $$;

-- Adds to counters; a row with code 0 has the sum. Only the form that it writes itself is a number.
CREATE FUNCTION cache_add(p_ns integer, p_created bigint, p_keys bytea[], p_deltas bigint[], p_ttls bigint[],
                          p_revisions bytea[], p_holders bytea[], p_fences bigint[])
RETURNS TABLE (i integer, code integer, holder bytea, fence bigint, ends timestamptz, sum bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE e record; a record; c record; total numeric; body text;
BEGIN
  FOR e IN SELECT * FROM unnest(p_keys, p_deltas, p_ttls, p_revisions, p_holders, p_fences)
    WITH ORDINALITY AS u(key, delta, ttl, revision, holder, fence, n)
  LOOP
    SELECT * INTO a FROM admit(p_ns, e.key, e.holder, e.fence);
    IF a.code <> 0 THEN
      RETURN QUERY SELECT e.n::int, a.code, a.holder, a.fence, a.ends, NULL::bigint;
      CONTINUE;
    END IF;
    LOOP
      SELECT value, expires IS NULL OR expires > clock_timestamp() AS live INTO c
        FROM entry WHERE ns = p_ns AND key = e.key FOR UPDATE;
      IF FOUND AND c.live THEN
        body := CASE WHEN length(c.value) <= 20 THEN encode(c.value, 'escape') ELSE 'long' END;
        total := 1e30;
        IF body ~ '^(0|-?[1-9][0-9]*)$' THEN total := body::numeric; END IF;
        IF total NOT BETWEEN -9223372036854775808 AND 9223372036854775807 THEN
          a.code := 5;
          EXIT;
        END IF;
        total := total + e.delta;
        IF total NOT BETWEEN -9223372036854775808 AND 9223372036854775807 THEN
          a.code := 6;
          EXIT;
        END IF;
        UPDATE entry SET value = convert_to(total::text, 'UTF8'), revision = e.revision, created = p_created
          WHERE ns = p_ns AND key = e.key;
        EXIT;
      ELSIF FOUND THEN
        UPDATE entry SET value = convert_to(e.delta::text, 'UTF8'), flags = 0, revision = e.revision, created = p_created,
          expires = ends_in(e.ttl) WHERE ns = p_ns AND key = e.key;
        total := e.delta;
        EXIT;
      END IF;
      INSERT INTO entry (ns, key, value, flags, revision, created, expires)
        VALUES (p_ns, e.key, convert_to(e.delta::text, 'UTF8'), 0, e.revision, p_created, ends_in(e.ttl))
        ON CONFLICT DO NOTHING;
      IF FOUND THEN
        total := e.delta;
        EXIT;
      END IF;
    END LOOP;
    RETURN QUERY SELECT e.n::int, a.code, NULL::bytea, NULL::bigint, NULL::timestamptz,
      CASE WHEN a.code = 0 THEN total::bigint END;
  END LOOP;
  IF 0 < ANY (p_ttls) THEN PERFORM cache_sweep(p_ns, 2 * cardinality(p_keys) + 16); END IF;
END $$;
