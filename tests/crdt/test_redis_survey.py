"""What Redis says of itself."""

from redis.asyncio import Redis

from roomful.crdt.redis_survey import Survey
from tests.redis_process import RedisProcess, shared_valkey


async def test_a_redis_that_keeps_what_it_is_told_is_as_it_should_be(redis: RedisProcess) -> None:
    async with Redis.from_url(redis.url, protocol=2) as client:
        survey = await Survey.of(client)
        assert (survey.fsync, survey.eviction, survey.warnings) == ("everysec", "noeviction", [])
        assert survey.version.startswith("7.")


async def test_a_redis_that_forgets_is_told_of(redis: RedisProcess) -> None:
    async with Redis.from_url(redis.url, protocol=2) as client:
        await client.config_set("appendonly", "no")
        await client.config_set("maxmemory", 100 << 20)
        await client.config_set("maxmemory-policy", "allkeys-lru")
        survey = await Survey.of(client)
        assert (survey.fsync, survey.eviction) == ("none", "allkeys-lru")
        assert len(survey.warnings) == 2


async def test_valkey_names_the_redis_it_is_compatible_with() -> None:
    async with Redis.from_url(shared_valkey().url, protocol=2) as client:
        assert (await Survey.of(client)).version.startswith("7.2")


async def test_a_redis_that_may_not_be_asked_is_believed(redis: RedisProcess) -> None:
    async with Redis.from_url(redis.url, protocol=2) as client:
        await client.acl_setuser(
            "app", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-info", "-config"]
        )
        async with Redis.from_url(redis.url, protocol=2, username="app", password="any") as app:
            assert await Survey.of(app) == ("unknown", "unknown", "unknown")
