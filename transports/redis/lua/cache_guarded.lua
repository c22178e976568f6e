-- Runs one command on a key if its guard lets it pass.
--
-- KEYS[1]  the key
-- KEYS[2]  lock of the same name
-- ARGV[1]  the guard's holder, or ''
-- ARGV[2]  the guard's fence, or '0'
-- ARGV[3]  the command; the key follows it
-- ARGV[4…] the command's arguments after the key
--
-- Returns what the command does, or the error LOCKED or FENCED.
-- Cost: one read more than the command.

local refused = guard(KEYS[2], ARGV[1], ARGV[2])
if refused then
  return refused
end
return redis.call(ARGV[3], KEYS[1], unpack(ARGV, 4))
