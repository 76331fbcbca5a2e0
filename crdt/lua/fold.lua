-- Put a snapshot in the place of a room's entries up to an offset.
--
-- KEYS  1 room hash  2 stream  3 snapshot
-- ARGV  1 epoch  2 offset  3 packed snapshot
-- gives 1, or 0 when the room is in another epoch, has been folded further, or does not reach so far

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
return 1
