-- Read a room at one moment: all of it, or the entries after an offset.
--
-- KEYS  1 room hash  2 stream
-- ARGV  1 offset after which to read; '' for all, the snapshot included
-- gives {epoch, folded, last, snapshot or nil, {entry id, {fields}}..., object or nil}; an empty epoch if there is
-- no such room. The object is where the snapshot is when it is not here.

local room = redis.call('HMGET', KEYS[1], 'epoch', 'folded', 'last', 'stored')
if not room[1] then
  return {'', 0, 0, false, {}, false}
end
local snapshot, first = false, '-'
if ARGV[1] == '' then
  snapshot = redis.call('HGET', KEYS[1], 'snapshot')
else
  first = '(' .. ARGV[1] .. '-0'
end
local entries = redis.call('XRANGE', KEYS[2], first, '+')
return {room[1], tonumber(room[2] or '0'), tonumber(room[3] or '0'), snapshot, entries, room[4]}
