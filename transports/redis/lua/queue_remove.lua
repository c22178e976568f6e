-- Deletes tasks that are not active.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 queue   2 memory of IDs in ms   3… tasks
-- Returns for each: 1 removed, 0 not there, 2 active
-- Cost: about 10 calls a task, and once as much as there are active tasks.
local queue = ARGV[1]
local reply = {}
for i = 3, #ARGV do
  local task = ARGV[i]
  local kind = where(queue, task)
  if not kind then
    reply[#reply + 1] = 0
  elseif kind == 'a' then
    reply[#reply + 1] = 2
  else
    if kind == 'p' then leave_line(queue, task) else call('ZREM', key(kind, queue), task) end
    call('ZREM', key('x', queue), task)
    forget(queue, task, record_of(queue, task), tonumber(ARGV[2]), now)
    reply[#reply + 1] = 1
  end
end
return reply
