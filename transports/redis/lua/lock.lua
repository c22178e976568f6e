-- Shared by every script that looks at a lock.
--
-- The record of a lock is "FENCE EXPIRES WAITED HOLDER": the last fence given, the end of the lease in milliseconds of
-- the store's clock (0: released), 1 when somebody waits to be woken, and who holds it. The record outlives the lease,
-- because it remembers the fence.

local function lock_of(record)
  local fence, expires, waited, holder = string.match(record, '^(%d+) (%d+) ([01]) (.*)$')
  if not fence then
    return nil, redis.error_reply('CORRUPT the record of the lock cannot be read')
  end
  return {fence = tonumber(fence), expires = tonumber(expires), waited = waited == '1', holder = holder}
end

local function record_of(lock)
  return string.format('%.0f %.0f ', lock.fence, lock.expires) .. (lock.waited and '1 ' or '0 ') .. lock.holder
end

local function micros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function millis(us)
  return math.floor((us or micros()) / 1000)
end

-- As with PX, a lease lasts through its last millisecond: cut to whole ones, it would end early otherwise.
local function live(lock, now)
  return lock.expires >= (now or millis())
end
