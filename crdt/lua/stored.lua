#!lua flags=allow-oom
-- Let the object that has been put stand for all of a room's entries, if nothing has changed since storing.lua.
--
-- KEYS  1 room hash  2 stream  3 snapshot
-- ARGV  1 epoch  2 offset of the last entry  3 the object's key
-- gives the keys of objects that are needed no more, or nil when the room has changed
--
-- What stays is the marker: where the room's numbering stands, and its objects. The one before is kept, because
-- Redis may come back as it was before this. The writers' counts go: they say whether an entry that is sent
-- again is here, and nothing as old as this is sent again, or else it goes in twice and changes no document.

local room = redis.call('HMGET', KEYS[1], 'epoch', 'last', 'storing', 'stored', 'before')
if room[1] ~= ARGV[1] or tonumber(room[2] or '0') ~= tonumber(ARGV[2]) or room[3] ~= ARGV[3] then
  return false
end
local unneeded = {room[5] or nil}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local object = string.match(field, '^unneeded:(.*)')
  if object then
    table.insert(unneeded, object)
  end
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'last', ARGV[2], 'folded', ARGV[2], 'stored', ARGV[3])
if room[4] then
  redis.call('HSET', KEYS[1], 'before', room[4])
end
for _, object in ipairs(unneeded) do
  redis.call('HSET', KEYS[1], 'unneeded:' .. object, '')
end
return unneeded
