-- Put a snapshot in the place of a room's entries up to an offset.
--
-- KEYS  1 room hash  2 stream  3 snapshot
-- ARGV  1 epoch  2 offset  3 packed snapshot  4 seconds after which a silent writer is forgotten
-- gives 1, or 0 when the room is in another epoch, has been folded further, or does not reach so far
--
-- A writer may be forgotten when nothing it has sent can still be on its way.

local room = redis.call('HMGET', KEYS[1], 'epoch', 'folded', 'last')
local offset = tonumber(ARGV[2])
if room[1] ~= ARGV[1] or tonumber(room[2] or '0') > offset or tonumber(room[3] or '0') < offset then
  return 0
end
redis.call('SET', KEYS[3], ARGV[3])
redis.call('HSET', KEYS[1], 'folded', offset)
redis.call('XTRIM', KEYS[2], 'MINID', offset + 1)
if redis.call('XLEN', KEYS[2]) == 0 then
  -- An empty stream still costs some kilobytes; the room hash knows where its numbering stands.
  redis.call('DEL', KEYS[2])
end
local oldest = tonumber(redis.call('TIME')[1]) - tonumber(ARGV[4])
local fields = redis.call('HGETALL', KEYS[1])
for at = 1, #fields, 2 do
  if string.sub(fields[at], 1, 7) == 'writer:' then
    local written_at = tonumber(string.match(fields[at + 1], ' (%d+)$') or '0')
    if written_at < oldest then
      redis.call('HDEL', KEYS[1], fields[at])
    end
  end
end
return 1
