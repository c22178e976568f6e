-- Leases due tasks of queues to a worker, and moves due and expired ones to pending first.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 most tasks   2 token without its first byte   3 waiter "NODE/WAITER" or '' (does not wait)
--       4 ms the waiter stays registered   5 whether it may be registered now (1 or 0)   6 memory of IDs in ms
--       7… the queues, most preferred first
-- Returns { now, the next time something may be due or 0, then for each line that gives tasks:
--           its queue's number from 1, its lease in ms, count, all of them as one string: for each the lengths of task
--           (2 bytes), record (4) and state (4), and these three }
-- One string, because a reply of many small ones costs the client an allocation or two for each. Large tasks are given
-- until they have MOST_BYTES together, the first whatever its size.
-- Cost: 3 calls a queue until enough are found; 5 more for one that has scheduled, active, completed or retried tasks, 3
-- more for one that gives tasks, whatever their number, 2 for each that is large, and 2 more when the worker waits for
-- all of them. It moves at most 100 scheduled, 100 expired and 100 completed tasks a queue. Independent of how long the
-- queues are.
local max = tonumber(ARGV[1])
local plain_token, special_token = 'p' .. ARGV[2], 's' .. ARGV[2]
local waiter = ARGV[3]
local byte, pack = string.byte, struct.pack
local reply = { now, 0 }
local taken = 0
local room = MOST_BYTES
local again = math.huge
local busy = {} -- queues that hold more than fresh pending tasks
local spare = {} -- queue: how many of its tasks may want other workers

-- Gives expired leases back to the front of the line, or ends their tasks.
local function recover(queue)
  local expired = call('ZRANGEBYSCORE', key('a', queue), '-inf', now, 'LIMIT', 0, 100)
  if #expired == 0 then return 0 end
  call('ZREM', key('a', queue), unpack(expired))
  local dead, cancelled = 0, 0
  for i = #expired, 1, -1 do
    local task = task_of(expired[i])
    local record = record_of(queue, task)
    local attempts, lost, cancel, err = state_of(queue, task)
    lost = lost + 1
    if cancel then
      set_state(queue, task, attempts, lost, false, err)
      bury(queue, task, record, 'k')
      cancelled = cancelled + 1
    elseif lost > max_lost_of(record) then
      err = string.format('its lease was lost %d times, %d are allowed: workers crash or stall while they run it', lost, max_lost_of(record))
      set_state(queue, task, attempts, lost, false, err)
      bury(queue, task, record, 'd')
      dead = dead + 1
    else
      set_state(queue, task, attempts, lost, false, err)
      line_up(queue, task, level_of(record), true)
    end
  end
  count(queue, 'lost', #expired)
  count(queue, 'dead', dead)
  count(queue, 'cancelled', cancelled)
  return #expired - dead - cancelled
end

-- Moves due scheduled tasks to the back of the line.
local function promote(queue)
  local due = call('ZRANGEBYSCORE', key('s', queue), '-inf', now, 'LIMIT', 0, 100)
  if #due == 0 then return 0 end
  call('ZREM', key('s', queue), unpack(due))
  for _, task in ipairs(due) do line_up(queue, task, level_of(record_of(queue, task)), false) end
  return #due
end

-- Gives what goes on of the large records of tasks, by place, as far as there is room. Those for which there is none go
-- back to the front of their line, and out of tasks.
local function read_rests(queue, level, tasks, records)
  local rests = {}
  for i = 1, #tasks do
    if (byte(records[i] or '', 2) or 0) % 16 > 7 then
      room = room - call('HSTRLEN', key('l', queue), tasks[i])
      if room < 0 and (i > 1 or #reply > 2) then
        spare[queue] = (spare[queue] or 0) + #tasks - i + 1
        for _ = i, #tasks do line_up(queue, table.remove(tasks), level, true) end
        return rests
      end
      rests[i] = call('HGET', key('l', queue), tasks[i])
    end
  end
  return rests
end

-- Leases tasks that were taken from the line, and adds them to the reply.
local function lease(queue, number, level, tasks, lease_ms)
  local records = call('HMGET', key('t', queue), unpack(tasks))
  local rests = read_rests(queue, level, tasks, records)
  if #tasks == 0 then return end
  local expires = string.format('%d', later + lease_ms)
  local states = busy[queue] and call('HMGET', key('m', queue), unpack(tasks))
  local leases, packed = {}, {}
  for i = 1, #tasks do
    local task, record, state, rest = tasks[i], records[i] or '', states and states[i] or '', rests[i] or ''
    -- The token's first byte tells the settlement whether the task needs more than to be deleted.
    local special = (byte(record, 2) or 1) % 16 > 0
    leases[2 * i - 1] = expires
    leases[2 * i] = task .. (special and special_token or plain_token)
    packed[5 * i - 4] = pack('>I2I4I4', #task, #record + #rest, #state)
    packed[5 * i - 3], packed[5 * i - 2], packed[5 * i - 1], packed[5 * i] = task, record, rest, state
  end
  call('ZADD', key('a', queue), unpack(leases))
  taken = taken + #tasks
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] = number, lease_ms, #tasks, table.concat(packed)
end

-- Leases up to max tasks from the lines of a queue. In one that has never had a generation every entry is a task.
local function take(queue, number, levels, lease_ms, generation)
  for level in ((levels or '') .. '0'):gmatch('%d') do
    if taken == max or room < 0 then return end
    level = tonumber(level)
    local line = line_key(queue, level)
    local tasks, more
    if generation then
      tasks, more = take_from(queue, line, max - taken)
    else
      tasks = call('LPOP', line, max - taken) or {}
    end
    if #tasks > 0 then
      lease(queue, number, level, tasks, lease_ms)
    elseif more then
      again = now
    end
  end
end

-- The next time something of an empty queue may be due: its first scheduled task, or its first lease to end.
local function look_ahead(queue)
  for _, kind in ipairs({ 's', 'a' }) do
    local first = call('ZRANGE', key(kind, queue), 0, 0, 'WITHSCORES')
    if first[1] then again = math.min(again, tonumber(first[2])) end
  end
end

for i = 7, #ARGV do
  local queue = ARGV[i]
  local moved = 0
  if call('EXISTS', key('s', queue), key('a', queue), key('x', queue), key('m', queue)) > 0 then
    busy[queue] = true
    expire(queue, tonumber(ARGV[6]))
    moved = recover(queue) + promote(queue)
  end
  local meta = call('HMGET', key('q', queue), 'paused', 'lease', 'levels', 'generation')
  if not meta[1] then
    take(queue, i - 6, meta[3], tonumber(meta[2] or 30000), meta[4])
    if taken == max or room < 0 then
      if moved > max then spare[queue] = math.max(spare[queue] or 0, moved - max) end
      break
    end
  end
end
if taken == 0 then
  for i = 7, #ARGV do
    if busy[ARGV[i]] then look_ahead(ARGV[i]) end
    if waiter ~= '' then
      call('ZADD', key('w', ARGV[i]), string.format('%d', now + tonumber(ARGV[4])), waiter)
      call('PEXPIRE', key('w', ARGV[i]), 10000)
    end
  end
  if again < math.huge then reply[2] = again end
elseif ARGV[5] == '1' then
  for i = 7, #ARGV do call('ZREM', key('w', ARGV[i]), waiter) end
end
for queue, n in pairs(spare) do wake(queue, n) end -- and not this one, which has just been taken out
return reply
