-- Makes a live lease end later.
--
-- KEYS[1]  lock
-- ARGV[1]  holder
-- ARGV[2]  fence of the lease; 0 is not compared
-- ARGV[3]  length of the lease from now, µs
--
-- Returns {fence, end of the lease}, or the error LOST or CORRUPT.
-- Cost: one read, one write.
local record = redis.call('GET', KEYS[1])
if record then
  if #record < HEADER or string.byte(record) ~= VERSION then
    return redis.error_reply('CORRUPT the record of the lock cannot be read')
  end
  local _, fence, ends, kept, waited = struct.unpack(RECORD, record)
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  if ends > now and (ARGV[2] == '0' or fence == tonumber(ARGV[2])) and string.sub(record, HEADER + 1) == ARGV[1] then
    ends = now + ARGV[3]
    kept = math.max(kept, ends + MEMORY)
    redis.call('SET', KEYS[1], struct.pack(RECORD, VERSION, fence, ends, kept, waited) .. ARGV[1],
      'PX', math.ceil((kept - now) / 1000))
    return {fence, ends}
  end
end
return redis.error_reply('LOST the lease has ended')
