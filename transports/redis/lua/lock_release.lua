-- Ends a live lease, and wakes those who wait for the lock, if any.
--
-- KEYS[1]  lock, and the channel on which those listen who wait for it
-- ARGV[1]  holder
-- ARGV[2]  fence of the lease; 0 is not compared
--
-- Returns 1, or the error LOST or CORRUPT.
-- Cost: one read, one write; one publish if somebody waits. The record stays as long as it would have without a release,
-- which is longer than the fence must be remembered.
local record = redis.call('GET', KEYS[1])
if record then
  if #record < HEADER or string.byte(record) ~= VERSION then
    return redis.error_reply('CORRUPT the record of the lock cannot be read')
  end
  local _, fence, ends, kept, waited = struct.unpack(RECORD, record)
  local time = redis.call('TIME')
  if ends > time[1] * 1000000 + time[2] and (ARGV[2] == '0' or fence == tonumber(ARGV[2])) and string.sub(record, HEADER + 1) == ARGV[1] then
    redis.call('SET', KEYS[1], struct.pack(RECORD, VERSION, fence, 0, kept, 0), 'KEEPTTL')
    if waited == 1 then
      redis.call('PUBLISH', KEYS[1], '')
    end
    return 1
  end
end
return redis.error_reply('LOST the lease has ended')
