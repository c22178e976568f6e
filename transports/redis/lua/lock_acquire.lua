-- Takes a lock for a holder, unless a live lease is there.
--
-- KEYS[1]  lock
-- ARGV[1]  holder
-- ARGV[2]  length of the lease, ms
-- ARGV[3]  how long to remember the fence after the lease, ms
-- ARGV[4]  '1': whoever releases the lock shall wake those who wait
--
-- Returns {fence, end of the lease} when taken, {0, end of the lease, holder, ms left} when somebody has it.
-- The fence is the time in microseconds, or one more than the last, whichever is greater: so it grows although the clock
-- may be set back while the record is remembered, and although the record may be forgotten later.
-- Cost: one read, one write.

local us = micros()
local now = millis(us)
local lock = {fence = us, expires = now + tonumber(ARGV[2]), waited = false, holder = ARGV[1]}
local record = redis.call('GET', KEYS[1])
if record then
  local last, damaged = lock_of(record)
  if damaged then
    return damaged
  end
  if live(last, now) then
    if ARGV[4] == '1' and not last.waited then
      last.waited = true
      redis.call('SET', KEYS[1], record_of(last), 'KEEPTTL')
    end
    return {0, last.expires, last.holder, last.expires - now}
  end
  if last.fence >= us then
    lock.fence = last.fence + 1
  end
end
redis.call('SET', KEYS[1], record_of(lock), 'PX', ARGV[2] + ARGV[3])
return {lock.fence, lock.expires}
