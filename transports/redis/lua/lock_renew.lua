-- Makes a live lease end later.
--
-- KEYS[1]  lock
-- ARGV[1]  holder
-- ARGV[2]  fence of the lease
-- ARGV[3]  length of the lease from now, ms
-- ARGV[4]  how long to remember the fence after the lease, ms
--
-- Returns {fence, end of the lease}, or the error LOST.
-- Cost: one read, one write.

local lock, lost = lease(KEYS[1], ARGV[1], ARGV[2])
if lost then
  return lost
end
lock.expires = millis() + tonumber(ARGV[3])
redis.call('SET', KEYS[1], record_of(lock), 'PX', ARGV[3] + ARGV[4])
return {lock.fence, lock.expires}
