-- Append one entry of one writer to a room's stream, and tell the room's channel.
--
-- KEYS  1 room hash  2 stream
-- ARGV  1 writer  2 number: the writer's count of its entries  3 packed update
--       4 the number of the writer's entry for this room that must be in already, or 0
--       5 an epoch, should the room be new  6 channel  7, 8 the offset that the writer has heard of, or 0, and
--       its epoch
-- gives {epoch, offset}, or the error HOLE when the writer's entry before this one was refused
--
-- The entry's stream id is its offset, so that a hole is arithmetic. A writer that has lost the answer sends
-- the same number again and is told where the entry is; nothing is appended twice. When the writer knows of
-- entries that are not here, Redis has come back with less than it had: a new epoch tells everybody to read anew.

local field = 'writer:' .. ARGV[1]
local room = redis.call('HMGET', KEYS[1], 'epoch', 'last', field)
local epoch, last = room[1], tonumber(room[2] or '0')
local written = tonumber(string.match(room[3] or '0', '^%d+'))
local number = tonumber(ARGV[2])

if number <= written then
  -- A write, so that WAIT on this connection waits for the entry that was written on another.
  redis.call('HSET', KEYS[1], field, room[3])
  local entries = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1000)
  for _, entry in ipairs(entries) do
    if entry[2][2] == ARGV[1] and entry[2][4] == ARGV[2] then
      return {epoch, tonumber(string.match(entry[1], '^%d+'))}
    end
  end
  -- Folded away meanwhile: so it is durable, and nobody knows where it was.
  return {epoch, 0}
end
if tonumber(ARGV[4]) > written then
  return redis.error_reply('HOLE entry ' .. number .. ' follows ' .. written)
end

if not epoch or (epoch == ARGV[8] and last < tonumber(ARGV[7])) then
  epoch = ARGV[5]
  redis.call('HSET', KEYS[1], 'epoch', epoch)
end
local offset = last + 1
-- Should Redis come back with less, the writer and the moment tell this entry from any other in its place.
local time = redis.call('TIME')
local now, moment = time[1], time[1] .. '.' .. time[2]
redis.call('XADD', KEYS[2], offset .. '-0', 'w', ARGV[1], 'n', ARGV[2], 'u', ARGV[3], 't', moment)
-- These times are for fold.lua, which forgets writers of long ago, and for storing.lua, which looks for old rooms.
redis.call('HSET', KEYS[1], 'last', offset, 'at', now, field, number .. ' ' .. now)
redis.call('SPUBLISH', ARGV[6], cmsgpack.pack({epoch, offset, ARGV[1], ARGV[3], moment}))
return {epoch, offset}
