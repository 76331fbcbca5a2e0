-- Forget a room's entries and snapshot, and start another epoch.
--
-- KEYS  1 room hash  2 stream
-- ARGV  1 the new epoch

redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
