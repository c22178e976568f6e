-- Gives an entry a new lifetime if its guard lets it pass.
--
-- KEYS[1]  entry
-- KEYS[2]  lock of the same name
-- ARGV[1]  the guard's holder, or ''
-- ARGV[2]  the guard's fence, or '0'
-- ARGV[3]  lifetime from now, ms; '0': no end
--
-- Returns 1, 0 when there is no such entry, or the error LOCKED or FENCED.
-- Cost: one write; one read with a guard.

local refused = guard(KEYS[2], ARGV[1], ARGV[2])
if refused then
  return refused
end
if ARGV[3] ~= '0' then
  return redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
-- PERSIST answers 0 too for an entry that had no end before.
if redis.call('PERSIST', KEYS[1]) == 1 then
  return 1
end
return redis.call('EXISTS', KEYS[1])
