#!lua flags=allow-oom
-- Put first in scripts that must run on a server whose memory is full too, because they are what makes room there, or keeps
-- what is held from being lost: tasks must end, and leases go on. They add next to nothing.
