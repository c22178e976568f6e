-- Shows one page of the tasks of one state.
--
-- KEYS  1 the partition's prefix
-- ARGV  1 queue   2 kind (see queue_where.lua)   3 limit   4, 5 cursor: both '' at the start
-- Returns { cursor, cursor (both '' after the last page), 7 fields (queue_show.lua) for each task }
-- A page ends before its limit once it has more than MOST_BYTES.
-- Cost: 4 calls a task; a page deep in a long line of pending tasks also has to be walked to.
local queue, kind, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local reply = { '', '' }

-- The cursor is the score and the member of the last task shown. It need not be there any more: it is put in for the
-- moment of finding out where it stands.
local function page_of_set()
  local set = key(kind, queue)
  local from = 0
  if ARGV[4] ~= '' then
    local added = call('ZADD', set, 'NX', ARGV[4], ARGV[5]) == 1
    from = call('ZRANK', set, ARGV[5])
    if added then call('ZREM', set, ARGV[5]) else from = from + 1 end
  end
  local page = call('ZRANGE', set, from, from + limit - 1, 'WITHSCORES')
  for i = 1, #page, 2 do
    show_member(reply, queue, kind, page[i], page[i + 1])
    if i + 1 == 2 * limit or shown > MOST_BYTES then
      reply[1], reply[2] = page[i + 1], page[i]
      return
    end
  end
end

-- The cursor is the level and how far its line was shown.
local function page_of_lines()
  local levels = (call('HGET', key('q', queue), 'levels') or '') .. '0'
  local from = tonumber(ARGV[5]) or 0
  local left = limit
  for level in levels:gmatch('%d') do
    if ARGV[4] == '' or level <= ARGV[4] then
      if ARGV[4] ~= level then from = 0 end
      local line = line_key(queue, tonumber(level))
      local page = call('LRANGE', line, from, from + left - 1)
      for i, entry in ipairs(page) do
        local task = task_of(entry)
        if not is_stale(queue, entry, task) then show(reply, queue, task, '', '', '') end
        left = left - 1
        if left == 0 or shown > MOST_BYTES then
          reply[1], reply[2] = level, from + i
          return
        end
      end
    end
  end
end

if kind == 'p' then page_of_lines() else page_of_set() end
return reply
