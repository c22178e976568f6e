-- Counts one queue.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 queue
-- Returns { now, paused, pending, scheduled, active, completed, dead, cancelled, record next in line or '', then the
--           totals as HGETALL gives them }
-- Cost: about 15 calls. Entries at the front of a line that are stale are dropped, at most 1,000.
local queue = ARGV[1]

local function next_in_line(levels)
  for level in levels:gmatch('%d') do
    local line = line_key(queue, tonumber(level))
    for _ = 1, 1000 do
      local entry = call('LINDEX', line, 0)
      if not entry then break end
      local task = task_of(entry)
      if not is_stale(queue, entry, task) then
        local record = record_of(queue, task)
        return record .. rest_of(queue, task, record)
      end
      forget_stale(queue, task)
      call('LPOP', line)
    end
  end
  return ''
end

local meta = call('HMGET', key('q', queue), 'paused', 'levels')
local levels = (meta[2] or '') .. '0'
local record = next_in_line(levels)
local pending = -stale_entries(queue)
for level in levels:gmatch('%d') do pending = pending + call('LLEN', line_key(queue, tonumber(level))) end
local reply = {
  now, meta[1] and 1 or 0, pending,
  call('ZCARD', key('s', queue)), call('ZCARD', key('a', queue)),
  call('ZCOUNT', key('x', queue), '(' .. string.format('%d', now), '+inf'),
  call('ZCARD', key('d', queue)), call('ZCARD', key('k', queue)), record,
}
for _, field in ipairs(call('HGETALL', key('n', queue))) do reply[#reply + 1] = field end
return reply
