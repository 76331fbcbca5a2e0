-- Forget a room's entries and snapshot, and start another epoch.
--
-- KEYS  1 room hash  2 stream
-- ARGV  1 the new epoch
-- gives the keys of the objects that hold snapshots of it, which the room names until they are deleted

local unneeded = {}
for _, object in ipairs(redis.call('HMGET', KEYS[1], 'stored', 'before', 'storing')) do
  if object then
    table.insert(unneeded, object)
  end
end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  table.insert(unneeded, string.match(field, '^unneeded:(.*)'))
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
for _, object in ipairs(unneeded) do
  redis.call('HSET', KEYS[1], 'unneeded:' .. object, '')
end
return unneeded
