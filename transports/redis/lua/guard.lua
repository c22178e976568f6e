-- Shared by every script that carries a guard; needs lock.lua.
--
-- guard is nil when an operation may pass the lock at key, and otherwise the error to return: LOCKED while another than
-- holder has it, FENCED when a greater fence than fence was given, CORRUPT. '' and '0' are not compared.
local function guard(key, holder, fence)
  if holder == '' and fence == '0' then
    return nil
  end
  local record = redis.call('GET', key)
  if not record then
    return nil
  end
  if #record < HEADER or string.byte(record) ~= VERSION then
    return redis.error_reply('CORRUPT the record of the lock cannot be read')
  end
  local _, last, ends = struct.unpack(RECORD, record)
  if holder ~= '' and ends > 0 and string.sub(record, HEADER + 1) ~= holder then
    local time = redis.call('TIME')
    if ends > time[1] * 1000000 + time[2] then
      return redis.error_reply('LOCKED another holder has the lock')
    end
  end
  if fence ~= '0' and tonumber(fence) < last then
    return redis.error_reply('FENCED a greater fence was given')
  end
  return nil
end
