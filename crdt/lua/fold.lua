-- Put a snapshot in the place of a room's entries up to an offset.
--
-- KEYS  1 room hash  2 stream
-- ARGV  1 epoch  2 offset  3 packed snapshot  4 seconds after which a silent writer is forgotten
-- gives 1, or 0 when the room is in another epoch, has been folded further, or does not reach so far
--
-- The stream stays when it is empty, some hundred bytes: while a slot of a Cluster is moved, a script whose keys
-- are not all there is turned away. A writer may be forgotten when nothing of it can still be on its way.

local room = redis.call('HMGET', KEYS[1], 'epoch', 'folded', 'last')
local offset = tonumber(ARGV[2])
if room[1] ~= ARGV[1] or tonumber(room[2] or '0') > offset or tonumber(room[3] or '0') < offset then
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
