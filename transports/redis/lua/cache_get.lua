-- Reads an entry with its lifetime, if its guard lets it pass.
--
-- KEYS[1]  entry
-- KEYS[2]  lock of the same name
-- ARGV[1]  the guard's holder, or ''
-- ARGV[2]  the guard's fence, or '0'
--
-- Returns {record, ms left or -1 for no end}, nil when absent, or the error LOCKED or FENCED.
-- Cost: two reads, one more with a guard.

local refused = guard(KEYS[2], ARGV[1], ARGV[2])
if refused then
  return refused
end
local record = redis.call('GET', KEYS[1])
if not record then
  return false
end
return {record, redis.call('PTTL', KEYS[1])}
