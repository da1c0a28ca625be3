// An aedes broker: node broker.mjs NAME PORT [REDIS_PORT]. With Redis, it shares sessions and messages with others there.

import { createServer } from 'node:net'
import { Aedes } from 'aedes'
import persistence from 'aedes-persistence-redis'
import emitter from 'mqemitter-redis'

const [name, port, redisPort] = process.argv.slice(2)
// The ready check of ioredis fails on a connection that has already subscribed, and ends the process.
const redis = { host: '127.0.0.1', port: Number(redisPort), enableReadyCheck: false }
const shared = redisPort && { mq: emitter({ ...redis }), persistence: persistence({ ...redis }) }

const aedes = await Aedes.createBroker({
  ...shared,
  id: name,
  // Maximum number of messages that wait for a client. The default is 42.
  queueLimit: 2000
})

createServer(aedes.handle).listen(Number(port), '127.0.0.1')
