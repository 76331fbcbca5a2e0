#!lua flags=allow-oom
-- Let the object that has been put stand for all of a room's entries, if nothing has changed since storing.lua.
--
-- KEYS  1 room hash  2 stream
-- ARGV  1 epoch  2 offset of the last entry  3 the object's key
--       4 seconds after which a silent writer is forgotten (fold.lua)
-- gives the keys of objects that are needed no more, or nil when the room has changed
--
-- What stays is the marker: where the room's numbering stands, and its objects. The one before is kept, because
-- Redis may come back as it was before this. Written anew, the hash takes the place of small values only.

local room = redis.call('HMGET', KEYS[1], 'epoch', 'last', 'storing', 'stored', 'before')
if room[1] ~= ARGV[1] or tonumber(room[2] or '0') ~= tonumber(ARGV[2]) or room[3] ~= ARGV[3] then
  return false
end
local unneeded = {room[5] or nil}
local marker = {'epoch', ARGV[1], 'last', ARGV[2], 'folded', ARGV[2], 'stored', ARGV[3]}
local oldest = tonumber(redis.call('TIME')[1]) - tonumber(ARGV[4])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local object = string.match(field, '^unneeded:(.*)')
  if object then
    table.insert(unneeded, object)
  elseif string.sub(field, 1, 7) == 'writer:' then
    local written = redis.call('HGET', KEYS[1], field)
    if tonumber(string.match(written, ' (%d+)$')) >= oldest then
      table.insert(marker, field)
      table.insert(marker, written)
    end
  end
end
if room[4] then
  table.insert(marker, 'before')
  table.insert(marker, room[4])
end
for _, object in ipairs(unneeded) do
  table.insert(marker, 'unneeded:' .. object)
  table.insert(marker, '')
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(marker))
redis.call('XTRIM', KEYS[2], 'MAXLEN', 0)
return unneeded
