-- Read a room at one moment: all of it, or the entries after an offset.
--
-- KEYS  1 room hash  2 stream
-- ARGV  1 offset after which to read; '' for all, the snapshot included
-- gives {epoch, folded, last, snapshot or nil, {entry id, {fields}}..., object or nil}; an empty epoch if there is
-- no such room. The object is where the snapshot is when it is not here.
--
-- All is what follows the snapshot, and not all of the stream: a Redis 7.0 whose append-only file was cut within
-- a transaction does half of that transaction at its restart after the next, and of a fold the trimming may lack.

local room = redis.call('HMGET', KEYS[1], 'epoch', 'folded', 'last', 'stored')
if not room[1] then
  return {'', 0, 0, false, {}, false}
end
local snapshot, after = false, ARGV[1]
if after == '' then
  snapshot, after = redis.call('HGET', KEYS[1], 'snapshot'), room[2] or '0'
end
local entries = redis.call('XRANGE', KEYS[2], '(' .. after .. '-0', '+')
return {room[1], tonumber(room[2] or '0'), tonumber(room[3] or '0'), snapshot, entries, room[4]}
