// An aedes broker: node broker.mjs NAME PORT [REDIS_PORT]. With Redis, it shares sessions and messages with others there.

import { createServer } from 'node:net'
import { Aedes } from 'aedes'
import persistence from 'aedes-persistence-redis'
import emitter from 'mqemitter-redis'

const [name, port, redisPort] = process.argv.slice(2)
// The check of ioredis fails on a connection that has subscribed meanwhile, and ends the process.
const redis = { host: '127.0.0.1', port: Number(redisPort), enableReadyCheck: false }
const shared = redisPort && { mq: emitter({ ...redis }), persistence: persistence({ ...redis }) }

const aedes = await Aedes.createBroker({
  ...shared,
  id: name,
  // The queue holds what waits for a client, 42 messages if nothing else is said.
  queueLimit: 2000
})

createServer(aedes.handle).listen(Number(port), '127.0.0.1')
