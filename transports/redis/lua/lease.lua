-- Shared by the scripts of who holds a lock; needs lock.lua.
--
-- lease is the lock at key if the holder has it with that fence, and otherwise nil and the error to return.

local function lease(key, holder, fence)
  local record = redis.call('GET', key)
  if record then
    local lock, damaged = lock_of(record)
    if damaged then
      return nil, damaged
    end
    if lock.holder == holder and tonumber(fence) == lock.fence and live(lock) then
      return lock
    end
  end
  return nil, redis.error_reply('LOST the lease has ended')
end
