-- Name objects no more that have been deleted.
--
-- KEYS  1 room hash  2 stream
-- ARGV  the objects' keys

for _, object in ipairs(ARGV) do
  redis.call('HDEL', KEYS[1], 'unneeded:' .. object)
end
