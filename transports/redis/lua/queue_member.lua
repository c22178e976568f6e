-- Shared: members, numbers and counts.

-- The line of a priority level. Level 0 is the usual one.
local function line_key(queue, level)
  if level == 0 then return key('p', queue) end
  return key('p' .. level, queue)
end

-- The task of a lease or of an entry in line, both of which begin with it: 'u' and the 16 bytes of a UUID, or ':', a
-- length of 2 bytes and any ID.
local function task_of(member)
  if member:byte(1) == 117 then return member:sub(1, 17) end
  return member:sub(1, 3 + (member:byte(2) or 0) * 256 + (member:byte(3) or 0))
end

local function number_at(s, from, bytes)
  local n = 0
  for i = from, from + bytes - 1 do n = n * 256 + (s:byte(i) or 0) end
  return n
end

local function count(queue, what, n)
  if n > 0 then call('HINCRBY', key('n', queue), what, n) end
end
