-- Pub/sub: notifications, parcels for what they cannot carry, and elections for groups.

-- Sends one notification for each message, in order, and keeps the parcels that some of them name. Parcels older than a
-- minute go, up to twice as many as come.
CREATE FUNCTION publish(p_ns integer, p_channels text[], p_notes text[], p_ids bytea[], p_frames bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE old timestamptz := clock_timestamp() - interval '1 minute';
BEGIN
  IF cardinality(p_ids) > 0 THEN
    DELETE FROM parcel WHERE ns = p_ns AND id = ANY (ARRAY(
      SELECT id FROM parcel WHERE ns = p_ns AND sent < old ORDER BY sent LIMIT 2 * cardinality(p_ids) + 2 FOR UPDATE SKIP LOCKED));
    INSERT INTO parcel (ns, id, frame) SELECT p_ns, u.id, u.frame FROM unnest(p_ids, p_frames) AS u(id, frame);
  END IF;
  PERFORM pg_notify(u.channel, u.note) FROM unnest(p_channels, p_notes) AS u(channel, note);
END $$;

-- Votes on messages for groups: the ballots that this ticket's node has won, now or when it asked before and did not get
-- the answer. Ballots are sorted, so that nodes do not wait for each other in a circle, and are remembered for 30 s.
CREATE FUNCTION vote(p_ns integer, p_ballots bytea[], p_ticket bytea) RETURNS TABLE (i integer) LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE old timestamptz := clock_timestamp() - interval '30 seconds';
BEGIN
  INSERT INTO election (ns, ballot, ticket) SELECT p_ns, u.ballot, p_ticket FROM unnest(p_ballots) AS u(ballot) ON CONFLICT DO NOTHING;
  RETURN QUERY SELECT u.n::int FROM unnest(p_ballots) WITH ORDINALITY AS u(ballot, n)
    JOIN election e ON e.ns = p_ns AND e.ballot = u.ballot WHERE e.ticket = p_ticket;
  DELETE FROM election WHERE ns = p_ns AND ballot = ANY (ARRAY(
    SELECT ballot FROM election WHERE ns = p_ns AND held < old ORDER BY held LIMIT 2 * cardinality(p_ballots) + 2 FOR UPDATE SKIP LOCKED));
END $$;
