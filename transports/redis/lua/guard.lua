-- Shared by every script that carries a guard; needs lock.lua.
--
-- guard is nil when an operation may pass the lock at key, and otherwise the error to return: LOCKED while another than
-- holder has it, FENCED when a greater fence than fence was given. '' and '0' are not compared.

local function guard(key, holder, fence)
  if holder == '' and fence == '0' then
    return nil
  end
  local record = redis.call('GET', key)
  if not record then
    return nil
  end
  local lock, damaged = lock_of(record)
  if damaged then
    return damaged
  end
  if holder ~= '' and lock.holder ~= holder and live(lock) then
    return redis.error_reply('LOCKED another holder has the lock')
  end
  if fence ~= '0' and tonumber(fence) < lock.fence then
    return redis.error_reply('FENCED a greater fence was given')
  end
  return nil
end
