#!lua flags=allow-oom
-- Begin to move an old room's snapshot to the store, if the room is old.
--
-- KEYS  1 room hash  2 stream
-- ARGV  1 the key of the object that will be put  2 seconds since its last entry  3 seconds since it was touched
-- gives {epoch, last}, or nil when the room is not old or has nothing here
--
-- From now on the room names the object, so that one that is put and not needed can be found; and only this
-- attempt can come to its end, so that one begun earlier may be forgotten. All of this also where Redis is full.

local idle = redis.call('OBJECT', 'IDLETIME', KEYS[1])
if not idle or idle < tonumber(ARGV[3]) then
  return false
end
if redis.call('HEXISTS', KEYS[1], 'snapshot') == 0 and redis.call('XLEN', KEYS[2]) == 0 then
  return false
end
local room = redis.call('HMGET', KEYS[1], 'epoch', 'last', 'at', 'storing')
local now = tonumber(redis.call('TIME')[1])
if now - tonumber(room[3] or '0') < tonumber(ARGV[2]) then
  return false
end
if room[4] then
  redis.call('HSET', KEYS[1], 'unneeded:' .. room[4], '')
end
redis.call('HSET', KEYS[1], 'storing', ARGV[1])
return {room[1], tonumber(room[2] or '0')}
