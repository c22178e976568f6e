-- Ends a live lease, and wakes those who wait for the lock, if any.
--
-- KEYS[1]  lock
-- ARGV[1]  holder
-- ARGV[2]  fence of the lease
-- ARGV[3]  channel on which who waits listens
--
-- Returns 1, or the error LOST.
-- Cost: one read, one write; one publish if somebody waits. The record stays as long as it would have without a release,
-- which is longer than the fence must be remembered.

local lock, lost = lease(KEYS[1], ARGV[1], ARGV[2])
if lost then
  return lost
end
redis.call('SET', KEYS[1], record_of({fence = lock.fence, expires = 0, waited = false, holder = ''}), 'KEEPTTL')
if lock.waited then
  redis.call('PUBLISH', ARGV[3], '')
end
return 1
