-- Makes scheduled and pending tasks cancelled, and asks for it with active ones.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 queue   2… tasks
-- Returns for each: 1 cancelled or asked for, 0 not there, 2 ended already
-- Cost: about 10 calls a task, and once as much as there are active tasks.
local queue = ARGV[1]
local reply = {}
local cancelled = 0
for i = 2, #ARGV do
  local task = ARGV[i]
  local kind = where(queue, task)
  if not kind then
    reply[#reply + 1] = 0
  elseif kind == 'a' then
    local attempts, lost, _, err = state_of(queue, task)
    set_state(queue, task, attempts, lost, true, err)
    reply[#reply + 1] = 1
  elseif kind == 'p' or kind == 's' then
    if kind == 'p' then leave_line(queue, task) else call('ZREM', key('s', queue), task) end
    bury(queue, task, record_of(queue, task), 'k')
    cancelled = cancelled + 1
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 2
  end
end
count(queue, 'cancelled', cancelled)
return reply
