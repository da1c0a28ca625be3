// Aedes as a broker: node aedes.mjs AEDES_MODULE ACCESS PORT

import { createServer } from 'node:net'
import { pathToFileURL } from 'node:url'

const [module, access, port] = process.argv.slice(2)
const { Aedes } = await import(pathToFileURL(module))

// The queue holds what waits for a client, 42 messages if nothing else is said.
const aedes = await Aedes.createBroker({ queueLimit: 2000 })

if (access === 'login') {
  aedes.authenticate = (client, user, password, callback) => {
    if (user === 'unavailable') {
      callback(Object.assign(new Error('unavailable'), { returnCode: 3 }), null)
    } else {
      callback(null, user === 'user' && password?.toString() === 'password')
    }
  }
} else if (access === 'guarded') {
  aedes.authorizePublish = (client, packet, callback) => {
    callback(packet.topic.startsWith('open/') ? null : new Error('not allowed'))
  }
  aedes.authorizeSubscribe = (client, subscription, callback) => {
    const allowed = /^(open|closed)\//.test(subscription.topic)
    callback(null, allowed ? subscription : null)
  }
}

createServer(aedes.handle).listen(Number(port), '127.0.0.1')
