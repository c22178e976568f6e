-- Shared: the store's time in ms. What is due is compared with now, which is rounded down; what begins to run is
-- reckoned from later, which is rounded up: so nothing happens early.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local later = tonumber(clock[1]) * 1000 + math.ceil(tonumber(clock[2]) / 1000)
