-- Takes a lock for a holder, unless a live lease is there.
--
-- KEYS[1]  lock
-- ARGV[1]  holder
-- ARGV[2]  length of the lease, µs
-- ARGV[3]  anything: whoever releases the lock shall wake those who wait
--
-- Returns {fence, end of the lease} when taken, or only the fence when the lease began at that very microsecond;
-- {0, end of the lease, holder, µs left} when somebody has it; or the error CORRUPT.
-- The fence is the time in microseconds, or one more than the last, whichever is greater: so it grows although the clock
-- may be set back while the record is remembered, and although the record may be forgotten later.
-- Cost: one read, one write. The record's own lifetime is written once for many leases: that took as long as the rest.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local fence, kept = now, 0
local record = redis.call('GET', KEYS[1])
if record then
  if #record < HEADER or string.byte(record) ~= VERSION then
    return redis.error_reply('CORRUPT the record of the lock cannot be read')
  end
  local _, last, ends, remembered, waited = struct.unpack(RECORD, record)
  if ends > now then
    local holder = string.sub(record, HEADER + 1)
    if ARGV[3] and waited == 0 then
      redis.call('SET', KEYS[1], struct.pack(RECORD, VERSION, last, ends, remembered, 1) .. holder, 'KEEPTTL')
    end
    return {0, ends, holder, ends - now}
  end
  if last >= now then
    fence = last + 1
  end
  kept = remembered
end
local ends = now + ARGV[2]
if kept >= ends + MEMORY then
  redis.call('SET', KEYS[1], struct.pack(RECORD, VERSION, fence, ends, kept, 0) .. ARGV[1], 'KEEPTTL')
else
  kept = ends + 2 * MEMORY
  redis.call('SET', KEYS[1], struct.pack(RECORD, VERSION, fence, ends, kept, 0) .. ARGV[1], 'PX', math.ceil((kept - now) / 1000))
end
if fence == now then
  return fence
end
return {fence, ends}
