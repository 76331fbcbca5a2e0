-- Put a snapshot in the place of a room's entries up to an offset.
--
-- KEYS  1 room hash  2 stream
-- ARGV  1 epoch  2 offset  3 packed snapshot  4 seconds after which a silent writer is forgotten
--       5 an offset up to which the folder has heard everything, or 0  6 that entry's writer and moment
--       (append.lua), a space between them; empty: it was the last one in a snapshot
-- gives 1, or 0 when the room is in another epoch, has been folded further, does not reach so far, or is not
-- the one that the folder has heard
--
-- A Redis that has come back with less may have been told other entries in the place of those it lost. Whoever
-- has not noticed yet must not put its snapshot in their place.
--
-- The stream stays when it is empty, some hundred bytes: while a slot of a Cluster is moved, a script whose keys
-- are not all there is turned away. A writer may be forgotten when nothing of it can still be on its way.

local room = redis.call('HMGET', KEYS[1], 'epoch', 'folded', 'last')
local offset = tonumber(ARGV[2])
if room[1] ~= ARGV[1] or tonumber(room[2] or '0') > offset or tonumber(room[3] or '0') < offset then
  return 0
end
local heard = tonumber(ARGV[5])
if ARGV[6] ~= '' then
  local entry = redis.call('XRANGE', KEYS[2], heard .. '-0', heard .. '-0')[1]
  if not entry or entry[2][2] .. ' ' .. entry[2][8] ~= ARGV[6] then
    return 0
  end
elseif heard > tonumber(room[2] or '0') then
  return 0
end
redis.call('HSET', KEYS[1], 'folded', offset, 'snapshot', ARGV[3])
redis.call('HDEL', KEYS[1], 'folder')
redis.call('XTRIM', KEYS[2], 'MINID', offset + 1)
local oldest = tonumber(redis.call('TIME')[1]) - tonumber(ARGV[4])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 7) == 'writer:' then
    local written_at = string.match(redis.call('HGET', KEYS[1], field), ' (%d+)$')
    if tonumber(written_at) < oldest then
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
return 1
