-- Leases tasks that are pending at once to a worker that was just woken: what queue_claim.lua does, for the usual case. It
-- is kept small, because after a pause a large script takes five times what it takes in a loop, and that is what a task
-- for an idle worker waits for. It moves nothing that is due: the other one runs often enough. Nor does it give large tasks.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 most tasks   2 token without its first byte   3 waiter "NODE/WAITER"   4… the queues, most preferred first
-- Returns what queue_claim.lua does, but no times. With no tasks nothing was done, and the other one has to look.
-- Cost: 2 calls a queue until enough are found, and 3 for one that gives tasks; 1 more a queue where there are several.
local call, byte, pack = redis.call, string.byte, struct.pack
local prefix, left = KEYS[1], tonumber(ARGV[1])
local reply = { 0, 0 }
for i = 4, #ARGV do
  local queue = ARGV[i]
  local meta = call('HMGET', prefix .. 'q:' .. queue, 'paused', 'lease', 'levels', 'generation')
  if meta[3] or meta[4] then break end
  local tasks = not meta[1] and call('LPOP', prefix .. 'p:' .. queue, left)
  if tasks then
    local records = call('HMGET', prefix .. 't:' .. queue, unpack(tasks))
    for j = 1, #tasks do
      if (byte(records[j] or '', 2) or 0) % 16 > 7 then -- large: the other one knows how to give it
        for back = #tasks, j, -1 do call('LPUSH', prefix .. 'p:' .. queue, table.remove(tasks)) end
        left = #tasks
        break
      end
    end
    if #tasks == 0 then break end
    local states = call('HMGET', prefix .. 'm:' .. queue, unpack(tasks))
    local clock = call('TIME')
    local lease = tonumber(meta[2] or 30000)
    local expires = string.format('%d', clock[1] * 1000 + math.ceil(clock[2] / 1000) + lease)
    local leases, packed = {}, {}
    for j, task in ipairs(tasks) do
      local record, state = records[j] or '', states[j] or ''
      local special = (byte(record, 2) or 1) % 16 > 0
      leases[2 * j - 1], leases[2 * j] = expires, task .. (special and 's' or 'p') .. ARGV[2]
      packed[4 * j - 3], packed[4 * j - 2] = pack('>I2I4I4', #task, #record, #state), task
      packed[4 * j - 1], packed[4 * j] = record, state
    end
    call('ZADD', prefix .. 'a:' .. queue, unpack(leases))
    local at = #reply
    reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] = i - 3, lease, #tasks, table.concat(packed)
    left = left - #tasks
    if left == 0 then break end
  end
end
if #reply == 2 then return reply end
-- Who is woken stands no longer in the queue that woke it, but may in others.
if #ARGV > 4 then
  for i = 4, #ARGV do call('ZREM', prefix .. 'w:' .. ARGV[i], ARGV[3]) end
end
return reply
