-- Adds to a counter, an entry whose value is a signed 64-bit integer in decimal text, if its guard lets it pass.
--
-- KEYS[1]  entry
-- KEYS[2]  lock of the same name
-- ARGV[1]  the guard's holder, or ''
-- ARGV[2]  the guard's fence, or '0'
-- ARGV[3]  what to add, in decimal text
-- ARGV[4]  lifetime if this creates the counter, ms; '0': no end
-- ARGV[5]  header of the new record, with flags 0
--
-- Returns the sum in decimal text, or the error NUMBER when the value is no such integer, OVERFLOW, CORRUPT, LOCKED or
-- FENCED; these change nothing.
-- Cost: one read, one write; one more read with a guard, two more writes for numbers of more than 15 digits.

local refused = guard(KEYS[2], ARGV[1], ARGV[2])
if refused then
  return refused
end
local record = redis.call('GET', KEYS[1])
if not record then
  if ARGV[4] == '0' then
    redis.call('SET', KEYS[1], ARGV[5] .. ARGV[3])
  else
    redis.call('SET', KEYS[1], ARGV[5] .. ARGV[3], 'PX', ARGV[4])
  end
  return ARGV[3]
end
if #record < 22 or string.byte(record) ~= string.byte(ARGV[5]) then
  return redis.error_reply('CORRUPT the record cannot be read')
end
local value = string.sub(record, 23)

-- Lua counts in doubles, which are exact to 15 digits. Beyond, Redis itself adds: it knows the bounds of 64 bits.
local sum
if #value < 16 and #ARGV[3] < 16 and (value == '0' or string.find(value, '^-?[1-9]%d*$')) then
  sum = string.format('%.0f', tonumber(value) + tonumber(ARGV[3]))
  if sum == '-0' then
    sum = '0'
  end
else
  redis.call('SET', KEYS[1], value, 'KEEPTTL')
  local answer = redis.pcall('INCRBY', KEYS[1], ARGV[3])
  if type(answer) == 'table' and answer.err then
    redis.call('SET', KEYS[1], record, 'KEEPTTL')
    if string.find(answer.err, 'overflow', 1, true) then
      return redis.error_reply('OVERFLOW the sum does not fit into 64 bits')
    end
    return redis.error_reply('NUMBER the value is not an integer of 64 bits')
  end
  sum = redis.call('GET', KEYS[1])
end
-- The flags are the caller's own: they stay.
local header = string.sub(ARGV[5], 1, 1) .. string.sub(record, 2, 2) .. string.sub(ARGV[5], 3)
redis.call('SET', KEYS[1], header .. sum, 'KEEPTTL')
return sum
