-- Ends leases of any queues of a partition, and remembers the answer for the case that it is lost.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 sender   2 number of the batch; 0: not remembered   3 ms the answer is remembered   4 memory of IDs in ms
--       then groups: queue, leases n, of these with attributes m, n times task and token,
--       m times: which lease from 1, outcome (done, retry, snooze, dead, release), delay in ms, error, result.
--       A lease without attributes is done, and its task needs nothing but to be deleted.
-- Returns { 1, positions from 1 of the stale ones as "3 17" }, or when the batch is not the next { 0, last number }.
-- Cost: 1 call a lease, 6 a group, and 2 to 6 for each lease with attributes.
local sender, number = key('b', ARGV[1]), tonumber(ARGV[2])
local id_memory = tonumber(ARGV[4])

if number > 0 then
  local last, size, answer = (call('GET', sender) or '0 0 '):match('^(%d+) (%d+) (.*)$')
  if tonumber(last) == number and tonumber(size) == #ARGV then return { 1, answer } end
  if tonumber(last) >= number then return { 0, tonumber(last) } end
end

local stale = {}
local position = 0
local counts, fresh

local function add(what) counts[what] = (counts[what] or 0) + 1 end

-- Ends the leases ARGV[from] to ARGV[to], and tells for each whether it stood. One whose time is over stands until a
-- claim takes it back: nobody else has the task, and to refuse it would only run the task again.
-- One call each costs half of what asking for all of them with ZMSCORE does, which prints a double for each.
local function end_leases(queue, from, to)
  local leases = key('a', queue)
  local stood = {}
  for i = from, to do stood[i - from + 1] = call('ZREM', leases, ARGV[i]) == 1 end
  return stood
end

local function complete(queue, task, result)
  local record = record_of(queue, task)
  local retention = retention_of(record)
  if retention == 0 then
    forget(queue, task, record, id_memory, now)
  else
    call('ZADD', key('c', queue), now, task)
    call('ZADD', key('x', queue), string.format('%d', later + retention), task)
    if result ~= '' then call('HSET', key('r', queue), task, result) end
    release_unique(queue, task, record)
    expire(queue, id_memory)
  end
  add('completed')
end

local function schedule(queue, task, delay)
  if delay == 0 then
    line_up(queue, task, level_of(record_of(queue, task)), false)
  else
    call('ZADD', key('s', queue), string.format('%d', later + delay), task)
  end
  if delay < 1000 then fresh = fresh + 1 end
end

local function settle(queue, task, outcome, delay, err, result)
  if outcome == 'done' then return complete(queue, task, result) end
  local attempts, lost, cancel, last = state_of(queue, task)
  local failed = outcome == 'retry' or outcome == 'dead'
  if failed then attempts = attempts + 1 end
  local told = failed or outcome == 'snooze' and err ~= ''
  if told then last = err end
  if cancel or told then set_state(queue, task, attempts, lost, false, last) end
  if cancel then
    bury(queue, task, record_of(queue, task), 'k')
    add('cancelled')
  elseif outcome == 'retry' then
    schedule(queue, task, delay)
    add('retried')
  elseif outcome == 'snooze' then
    schedule(queue, task, delay)
    add('snoozed')
  elseif outcome == 'dead' then
    bury(queue, task, record_of(queue, task), 'd')
    add('dead')
  else
    line_up(queue, task, level_of(record_of(queue, task)), true)
    fresh = fresh + 1
    add('released')
  end
end

local function settle_group(queue, from, n, attributed)
  local stood = end_leases(queue, from, from + n - 1)
  local has_attributes = {}
  for i = 1, attributed do has_attributes[tonumber(ARGV[from + n + 5 * (i - 1)])] = true end
  local done = {}
  for i = 1, n do
    if not stood[i] then
      stale[#stale + 1] = position + i
      add('stale')
    elseif not has_attributes[i] then
      done[#done + 1] = task_of(ARGV[from + i - 1])
    end
  end
  if #done > 0 then
    call('HDEL', key('t', queue), unpack(done))
    -- Most queues hold no task to which anything has happened: then the list of them is not passed twice.
    if call('EXISTS', key('m', queue)) == 1 then call('HDEL', key('m', queue), unpack(done)) end
    counts.completed = #done
  end
  -- From the last to the first, so that those given back to the front of the line keep their order.
  for i = attributed, 1, -1 do
    local at = from + n + 5 * (i - 1)
    local which = tonumber(ARGV[at])
    if stood[which] then
      settle(queue, task_of(ARGV[from + which - 1]), ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3], ARGV[at + 4])
    end
  end
end

local at = 5
while at < #ARGV do
  local queue, n, attributed = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  counts, fresh = {}, 0
  settle_group(queue, at + 3, n, attributed)
  -- A settlement may name a queue that never was, of which nothing shall be kept.
  if counts.stale and call('SISMEMBER', prefix .. 'queues', queue) == 0 then counts.stale = 0 end
  for what, many in pairs(counts) do count(queue, what, many) end
  if fresh > 0 then wake(queue, fresh) end
  position = position + n
  at = at + 3 + n + 5 * attributed
end
local answer = table.concat(stale, ' ')
if number > 0 then call('SET', sender, ARGV[2] .. ' ' .. #ARGV .. ' ' .. answer, 'PX', ARGV[3]) end
return { 1, answer }
