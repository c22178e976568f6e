-- Shared by the scripts that look at an entry. Its record is a header of 22 bytes (see record.go) and the value; the
-- revision is bytes 3 to 14.

-- revision is that of the entry at key, '' when its record is damaged, and nil when there is none. Only the header is
-- read: the value may be large.
local function revision(key)
  local header = redis.call('GETRANGE', key, 0, 21)
  if #header == 22 then
    return string.sub(header, 3, 14)
  end
  if redis.call('EXISTS', key) == 1 then
    return ''
  end
  return nil
end

-- holds reports whether a condition holds for an entry at revision there: 'always', 'absent', 'present', or 'revision',
-- which compares with wanted.
local function holds(condition, wanted, there)
  if condition == 'absent' then
    return there == nil
  elseif condition == 'present' then
    return there ~= nil
  elseif condition == 'revision' then
    return there == wanted
  end
  return true
end
