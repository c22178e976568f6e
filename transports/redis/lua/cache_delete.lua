-- Removes an entry if its guard lets it pass and its condition holds.
--
-- KEYS[1]  entry
-- KEYS[2]  lock of the same name
-- ARGV[1]  the guard's holder, or ''
-- ARGV[2]  the guard's fence, or '0'
-- ARGV[3]  'absent', 'present' or 'revision'
-- ARGV[4]  the revision that must be there
--
-- Returns how many were removed, or the error CONFLICT, LOCKED or FENCED.
-- Cost: one read, one write; one more read with a guard.

local refused = guard(KEYS[2], ARGV[1], ARGV[2])
if refused then
  return refused
end
if not holds(ARGV[3], ARGV[4], revision(KEYS[1])) then
  return redis.error_reply('CONFLICT the condition did not hold')
end
return redis.call('UNLINK', KEYS[1])
