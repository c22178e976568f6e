-- Shared by the administration: in which state a task is.

-- The leases of a queue by task. It costs as much as there are active tasks, so it is made once a call and only for
-- tasks that are nowhere else.
local active
local function lease_of(queue, task)
  if not active then
    active = {}
    for _, member in ipairs(call('ZRANGE', key('a', queue), 0, -1)) do active[task_of(member)] = member end
  end
  return active[task]
end

-- The kind of key that holds a task (s scheduled, d dead, k cancelled, c completed, a active, p pending, or nil) and
-- its score there, or for an active one its lease. A completed task whose time is over is gone.
local function where(queue, task)
  for _, kind in ipairs({ 's', 'd', 'k', 'c' }) do
    local score = call('ZSCORE', key(kind, queue), task)
    if score then
      if kind == 'c' and tonumber(call('ZSCORE', key('x', queue), task) or 0) <= now then return nil end
      return kind, score
    end
  end
  local lease = lease_of(queue, task)
  if lease then return 'a', lease end
  if call('HEXISTS', key('t', queue), task) == 1 then return 'p' end
  return nil
end
