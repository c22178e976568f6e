-- Makes dead, cancelled, completed and scheduled tasks pending now, and wakes workers.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 queue   2… tasks
-- Returns for each: 1 pending now, 0 not there, 2 pending or active, or the task that holds its unique key
-- Cost: about 12 calls a task, and once as much as there are active tasks.
local queue = ARGV[1]
local reply = {}
local fresh = 0

-- Takes the unique key again, which was given back when the task ended; tells who else has it.
local function hold_unique(task, record)
  local unique, held = unique_of(record)
  if not unique then return nil end
  local name = unique_key(queue, unique)
  local holder = call('GET', name)
  if holder and holder ~= task and call('HEXISTS', key('t', queue), holder) == 1 then return holder end
  if held > 0 then call('SET', name, task, 'PX', string.format('%d', held)) else call('SET', name, task) end
end

local function requeue(task, kind)
  local record = record_of(queue, task)
  if kind ~= 's' then
    local holder = hold_unique(task, record)
    if holder then return holder end
    call('HDEL', key('m', queue), task)
    call('HDEL', key('r', queue), task)
    call('ZREM', key('x', queue), task)
  end
  call('ZREM', key(kind, queue), task)
  line_up(queue, task, level_of(record), false)
  fresh = fresh + 1
  return 1
end

for i = 2, #ARGV do
  local kind = where(queue, ARGV[i])
  if not kind then
    reply[#reply + 1] = 0
  elseif kind == 'a' or kind == 'p' then
    reply[#reply + 1] = 2
  else
    reply[#reply + 1] = requeue(ARGV[i], kind)
  end
end
if fresh > 0 then wake(queue, fresh) end
return reply
