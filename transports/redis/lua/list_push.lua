-- Appends to a list, and gives the whole list a lifetime, if its guard lets it pass.
--
-- KEYS[1]  list
-- KEYS[2]  lock of the same name
-- ARGV[1]  the guard's holder, or ''
-- ARGV[2]  the guard's fence, or '0'
-- ARGV[3]  'RPUSH' or 'LPUSH'
-- ARGV[4]  lifetime from now, ms; '0': leave it as it is
-- ARGV[5…] values
--
-- Returns the length, or the error LOCKED or FENCED.
-- Cost: one write, two with a lifetime; one read with a guard.

local refused = guard(KEYS[2], ARGV[1], ARGV[2])
if refused then
  return refused
end
local length = redis.call(ARGV[3], KEYS[1], unpack(ARGV, 5))
if ARGV[4] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return length
