-- Stores tasks of any queues of a partition and wakes waiting workers.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 memory of IDs in ms, then runs, each of: queue, kind, count, and then
--         kind p  (small, pending at once, level 0, no unique key, an ID that nobody chose; all different):
--                 count times task, record
--         kind s  (anything, count 1): task, record, due ms (0: now), level, caller's ID (1 or 0), unique key or '',
--                 ms it is held (0: until the task ends), where a large record goes on or ''
-- Returns a flat list of what was refused as duplicate: number of the task in the call from 1, task in the way, …
-- Cost: kind p 4 calls a run, kind s about 5 a task; 3 calls a queue; independent of how long the queues are.
local id_memory = tonumber(ARGV[1])
local refused = {}
local position = 0
local fresh = {}   -- queue: how many of its tasks may want a worker
local queues = {}  -- those with accepted tasks, in order
local accepted, duplicates = {}, {}

local function accept(queue, n, urgent)
  if not accepted[queue] then
    accepted[queue], fresh[queue], queues[#queues + 1] = 0, 0, queue
  end
  accepted[queue] = accepted[queue] + n
  if urgent then fresh[queue] = fresh[queue] + n end
end

local function refuse(queue, at, holder)
  refused[#refused + 1] = at
  refused[#refused + 1] = holder
  duplicates[queue] = (duplicates[queue] or 0) + 1
end

-- Whether a task's ID is taken. A completed task whose time is over is forgotten first.
local function is_taken(queue, task, callers)
  if call('HEXISTS', key('t', queue), task) == 1 then
    local over = tonumber(call('ZSCORE', key('x', queue), task) or math.huge)
    if over > now then return true end
    call('ZREM', key('x', queue), task)
    call('ZREM', key('c', queue), task)
    forget(queue, task, record_of(queue, task), id_memory, over)
  end
  return callers and tonumber(call('ZSCORE', key('i', queue), task) or 0) > now
end

-- The task that holds a unique key, or nil once this one does.
local function take_unique(queue, task, unique, held)
  local name = unique_key(queue, unique)
  local holder = call('GET', name)
  if holder and call('HEXISTS', key('t', queue), holder) == 1 then return holder end
  if held > 0 then call('SET', name, task, 'PX', string.format('%d', held)) else call('SET', name, task) end
end

local function store_one(queue, at)
  local task, record, due, level = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  if is_taken(queue, task, ARGV[at + 4] == '1') then return refuse(queue, position, task) end
  if ARGV[at + 5] ~= '' then
    local holder = take_unique(queue, task, ARGV[at + 5], tonumber(ARGV[at + 6]))
    if holder then return refuse(queue, position, holder) end
  end
  call('HSET', key('t', queue), task, record)
  if ARGV[at + 7] ~= '' then call('HSET', key('l', queue), task, ARGV[at + 7]) end
  if due > now then
    call('ZADD', key('s', queue), ARGV[at + 2], task)
  else
    line_up(queue, task, level, false)
  end
  accept(queue, 1, due < now + 1000)
end

local function store_plain(queue, at, n)
  local tasks = {}
  for i = 1, n do tasks[i] = ARGV[at + 2 * i - 2] end
  local known = call('HMGET', key('t', queue), unpack(tasks))
  local any = stale_entries(queue) > 0
  for i = 1, n do any = any or known[i] end
  if not any then
    call('HSET', key('t', queue), unpack(ARGV, at, at + 2 * n - 1))
    call('RPUSH', line_key(queue, 0), unpack(tasks))
    return accept(queue, n, true)
  end
  for i = 1, n do
    if is_taken(queue, tasks[i], false) then
      refuse(queue, position - n + i, tasks[i])
    else
      call('HSET', key('t', queue), tasks[i], ARGV[at + 2 * i - 1])
      line_up(queue, tasks[i], 0, false)
      accept(queue, 1, true)
    end
  end
end

local at = 2
while at < #ARGV do
  local queue, kind, n = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  position = position + n
  if kind == 'p' then
    store_plain(queue, at + 3, n)
    at = at + 3 + 2 * n
  else
    store_one(queue, at + 3)
    at = at + 11
  end
end
for queue, n in pairs(duplicates) do
  if call('HINCRBY', key('n', queue), 'duplicates', n) == n then call('SADD', prefix .. 'queues', queue) end
end
for _, queue in ipairs(queues) do
  if call('HINCRBY', key('n', queue), 'enqueued', accepted[queue]) == accepted[queue] then
    call('SADD', prefix .. 'queues', queue)
  end
  wake(queue, fresh[queue])
end
return refused
