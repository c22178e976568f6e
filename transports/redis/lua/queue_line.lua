-- Shared: the lines of pending tasks.
--
-- An entry is a task's ID, with a generation behind it if it needs one. Nothing is ever removed from the middle of a
-- line, which would cost as much as the line is long: a task that leaves it so is noted in z as "GENERATION COUNT", and
-- its entries of an older generation, COUNT of them, are skipped when they reach the front.

local function stale_entries(queue) return tonumber(call('HGET', key('q', queue), 'stale') or 0) end

-- Puts one task in line, at the back unless at_front.
local function line_up(queue, task, level, at_front)
  local entry = task
  local stale = call('HGET', key('z', queue), task)
  if stale then entry = task .. stale:match('^%d+') end
  if level > 0 then
    local levels = call('HGET', key('q', queue), 'levels') or ''
    if not levels:find(level, 1, true) then
      -- The levels in use, highest first: "952".
      local all = {}
      for used in (levels .. level):gmatch('%d') do all[#all + 1] = used end
      table.sort(all, function(a, b) return a > b end)
      call('HSET', key('q', queue), 'levels', table.concat(all))
    end
  end
  call(at_front and 'LPUSH' or 'RPUSH', line_key(queue, level), entry)
end

-- Takes a task out of the line it stands in.
local function leave_line(queue, task)
  local generation = call('HINCRBY', key('q', queue), 'generation', 1)
  local stale = call('HGET', key('z', queue), task)
  local entries = stale and tonumber(stale:match('%d+$')) or 0
  call('HSET', key('z', queue), task, generation .. ' ' .. (entries + 1))
  call('HINCRBY', key('q', queue), 'stale', 1)
end

local function is_stale(queue, entry, task)
  local stale = call('HGET', key('z', queue), task)
  if not stale then return false end
  return (tonumber(entry:sub(#task + 1)) or 0) < tonumber(stale:match('^%d+'))
end

-- One stale entry of a task has left its line.
local function forget_stale(queue, task)
  local generation, left = call('HGET', key('z', queue), task):match('^(%d+) (%d+)$')
  if left == '1' then
    call('HDEL', key('z', queue), task)
  else
    call('HSET', key('z', queue), task, generation .. ' ' .. (left - 1))
  end
  call('HINCRBY', key('q', queue), 'stale', -1)
end

-- Takes up to want tasks from the front of a line, and says whether it may have more. Where entries may be stale it
-- looks at no more than 1,000.
local function take_from(queue, line, want)
  local tasks = {}
  if stale_entries(queue) == 0 then
    for i, entry in ipairs(call('LPOP', line, want) or {}) do tasks[i] = task_of(entry) end
    return tasks, #tasks == want
  end
  local passed = 0
  while passed < 1000 and #tasks < want do
    -- As many as are wanted, and twice as many each time that most of them are stale: there may be one at the far end of a
    -- long line only, or hundreds in a row.
    local entries = call('LRANGE', line, 0, math.min(math.max(want - #tasks, passed), 1000 - passed) - 1)
    if #entries == 0 then return tasks, false end
    local looked = 0
    while looked < #entries and #tasks < want do
      looked = looked + 1
      local entry = entries[looked]
      local task = task_of(entry)
      if is_stale(queue, entry, task) then forget_stale(queue, task) else tasks[#tasks + 1] = task end
    end
    call('LPOP', line, looked)
    passed = passed + looked
  end
  return tasks, true
end
