-- Writes an entry if its guard lets it pass and its condition holds.
--
-- KEYS[1]  entry
-- KEYS[2]  lock of the same name
-- ARGV[1]  the guard's holder, or ''
-- ARGV[2]  the guard's fence, or '0'
-- ARGV[3]  'always', 'absent', 'present' or 'revision'
-- ARGV[4]  the revision that must be there
-- ARGV[5]  lifetime, ms; '0': no end
-- ARGV[6]  the record
--
-- Returns 1 when written, {revision that is there, or ''} when the condition did not hold, or the error LOCKED or FENCED.
-- Cost: one write; one read with a guard, one with a condition.

local refused = guard(KEYS[2], ARGV[1], ARGV[2])
if refused then
  return refused
end
if ARGV[3] ~= 'always' then
  local there = revision(KEYS[1])
  if not holds(ARGV[3], ARGV[4], there) then
    return {there or ''}
  end
end
if ARGV[5] == '0' then
  redis.call('SET', KEYS[1], ARGV[6])
else
  redis.call('SET', KEYS[1], ARGV[6], 'PX', ARGV[5])
end
return 1
