-- Removes all that a namespace keeps, except its number.
CREATE FUNCTION erase(p_ns integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM task WHERE q IN (SELECT id FROM queue WHERE ns = p_ns);
  DELETE FROM held WHERE q IN (SELECT id FROM queue WHERE ns = p_ns);
  DELETE FROM gone WHERE q IN (SELECT id FROM queue WHERE ns = p_ns);
  DELETE FROM tally WHERE q IN (SELECT id FROM queue WHERE ns = p_ns);
  DELETE FROM queue WHERE ns = p_ns;
  DELETE FROM answer WHERE ns = p_ns;
  DELETE FROM waiter WHERE ns = p_ns;
  DELETE FROM item WHERE list IN (SELECT id FROM list WHERE ns = p_ns);
  DELETE FROM list WHERE ns = p_ns;
  DELETE FROM lock WHERE ns = p_ns;
  DELETE FROM entry WHERE ns = p_ns;
  DELETE FROM parcel WHERE ns = p_ns;
  DELETE FROM election WHERE ns = p_ns;
END $$;
