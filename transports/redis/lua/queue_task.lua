-- Shared: one task's record, state and end.
--
-- A record begins, in every version of it, with: version, flags, level (1 byte each), the most leases it may lose (4);
-- if flags has 2, the unique key: its length (2), it, and how many ms it is held (6); if flags has 4, for how many ms
-- the task is kept once completed (6). Numbers have the highest byte first. Flag 1: the caller chose the ID. Flag 8: the
-- record ends here in t, and goes on in l, which only those read who give the task to a client.

-- How many bytes of tasks one call gives, about: a script takes 20 ms for each MiB, and the server waits for it.
local MOST_BYTES = 4194304

local function record_of(queue, task) return call('HGET', key('t', queue), task) or '' end

local function has_flag(record, flag) return math.floor((record:byte(2) or 0) / flag) % 2 == 1 end

-- Where a record goes on, or ''.
local function rest_of(queue, task, record)
  return has_flag(record, 8) and call('HGET', key('l', queue), task) or ''
end

local function level_of(record)
  local level = record:byte(3) or 0
  return level <= 9 and level or 0
end

local function max_lost_of(record) return number_at(record, 4, 4) end

-- The unique key, how long it may be held, and where it ends in the record.
local function unique_of(record)
  if not has_flag(record, 2) then return nil, 0, 8 end
  local length = number_at(record, 8, 2)
  return record:sub(10, 9 + length), number_at(record, 10 + length, 6), 16 + length
end

local function retention_of(record)
  if not has_flag(record, 4) then return 0 end
  local _, _, at = unique_of(record)
  return number_at(record, at, 6)
end

-- What has happened to a task so far, kept only for those to which something has: "ATTEMPTS LOST CANCEL ERROR".
local function state_of(queue, task)
  local state = call('HGET', key('m', queue), task)
  local attempts, lost, cancel, err = (state or ''):match('^(%d+) (%d+) ([01]) (.*)$')
  if not attempts then return 0, 0, false, '' end
  return tonumber(attempts), tonumber(lost), cancel == '1', err
end

local function set_state(queue, task, attempts, lost, cancel, err)
  call('HSET', key('m', queue), task, string.format('%d %d %s ', attempts, lost, cancel and '1' or '0') .. err)
end

local function unique_key(queue, unique) return prefix .. 'u:' .. #queue .. ':' .. queue .. ':' .. unique end

-- Gives the unique key back, if this task holds it.
local function release_unique(queue, task, record)
  local unique = unique_of(record)
  if unique and call('GET', unique_key(queue, unique)) == task then call('DEL', unique_key(queue, unique)) end
end

-- Ends a task in dead (kind d) or cancelled (k), where it is kept.
local function bury(queue, task, record, kind)
  call('ZADD', key(kind, queue), now, task)
  release_unique(queue, task, record)
end

-- Forgets a task. An ID that its caller chose stays known for id_memory ms from a time on, which is not to come; each such
-- end also removes two that are over, so that they do not pile up, and after the last the key ends with them.
local function forget(queue, task, record, id_memory, from)
  call('HDEL', key('t', queue), task)
  call('HDEL', key('m', queue), task)
  call('HDEL', key('r', queue), task)
  if has_flag(record, 8) then call('HDEL', key('l', queue), task) end
  release_unique(queue, task, record)
  if has_flag(record, 1) then
    call('ZADD', key('i', queue), from + id_memory, task)
    call('PEXPIRE', key('i', queue), id_memory)
    local over = call('ZRANGEBYSCORE', key('i', queue), '-inf', now, 'LIMIT', 0, 2)
    if #over > 0 then call('ZREM', key('i', queue), unpack(over)) end
  end
end

-- Forgets up to 100 completed tasks whose time is over.
local function expire(queue, id_memory)
  local over = call('ZRANGEBYSCORE', key('x', queue), '-inf', now, 'WITHSCORES', 'LIMIT', 0, 100)
  for i = 1, #over, 2 do
    call('ZREM', key('x', queue), over[i])
    call('ZREM', key('c', queue), over[i])
    forget(queue, over[i], record_of(queue, over[i]), id_memory, tonumber(over[i + 1]))
  end
end
