// A Hocuspocus server as its documentation starts one: no store. The URL of a Redis makes it one of several,
// by the extension that is made for that and keeps nothing there either.
import { Redis } from '@hocuspocus/extension-redis'
import { Server } from '@hocuspocus/server'

const redis = process.argv[2] && new URL(process.argv[2])
const server = new Server({
  address: '127.0.0.1',
  port: Number(process.env.PORT),
  quiet: true,
  extensions: redis ? [new Redis({ host: redis.hostname, port: Number(redis.port) })] : []
})
await server.listen()
