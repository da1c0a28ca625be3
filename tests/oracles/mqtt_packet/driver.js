// Decodes packets of umqtt with mqtt-packet. Also writes packets of mqtt-packet, valid ones and damaged ones.
//
//   driver.js decode <LINES          adds the fields that mqtt-packet decodes
//   driver.js generate SEED COUNT    writes packets of mqtt-packet
'use strict'

const mqtt = require('mqtt-packet')
const { createInterface } = require('node:readline')

const hex = (bytes) => Buffer.from(bytes).toString('hex')

// The fields of a packet, as in src/fields.rs.
function fields (packet) {
  const type = packet.cmd
  const id = packet.messageId
  switch (type) {
    case 'connect': {
      const will = packet.will && {
        topic: hex(packet.will.topic),
        message: hex(packet.will.payload),
        qos: packet.will.qos,
        retain: packet.will.retain
      }
      return {
        type,
        client_id: hex(packet.clientId),
        clean: packet.clean,
        keep_alive: packet.keepalive,
        will: will ?? null,
        user_name: packet.username === undefined ? null : hex(packet.username),
        password: packet.password === undefined ? null : hex(packet.password)
      }
    }
    case 'connack':
      return { type, session_present: packet.sessionPresent, code: packet.returnCode }
    case 'publish': {
      const { topic, qos, retain, dup, payload } = packet
      return { type, topic: hex(topic), qos, retain, dup, id: id ?? null, payload: hex(payload) }
    }
    case 'subscribe':
      return { type, id, filters: packet.subscriptions.map(({ topic, qos }) => [hex(topic), qos]) }
    case 'suback':
      return { type, id, codes: packet.granted }
    case 'unsubscribe':
      return { type, id, filters: packet.unsubscriptions.map(hex) }
    case 'pingreq':
    case 'pingresp':
    case 'disconnect':
      return { type }
    default:
      return { type, id }
  }
}

// Returns the first packet in these bytes, or the reason why there is none.
function decode (bytes) {
  let result
  const parser = mqtt.parser({ protocolVersion: 4 })
  parser.on('packet', (packet) => { result ??= fields(packet) })
  parser.on('error', (error) => { result ??= error.message.replace(/[0-9]+/g, 'N') })
  try {
    parser.parse(bytes)
  } catch (error) {
    result ??= `throws ${error.constructor.name}`
  }
  return result ?? 'nothing yet'
}

// A small generator of random numbers that can be seeded: mulberry32.
function randomness (seed) {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) % below
  }
}

const CHARACTERS = [...'abcXYZ 019$-_.', '/', '/', 'é', '€', '😀', '\ufeff']
// Values that the specification forbids at some places.
const STRANGE = ['+', '#', '\0', '\u{1f}']

function text (random) {
  const alphabet = random(20) === 0 ? CHARACTERS.concat(STRANGE) : CHARACTERS
  const length = random(40) === 0 ? 100 + random(200) : random(12)
  return Array.from({ length }, () => alphabet[random(alphabet.length)]).join('')
}

const bytes = (random) => Buffer.from(Array.from({ length: random(40) === 0 ? 300 : random(12) }, () => random(256)))
const several = (random, make) => Array.from({ length: 1 + random(4) }, make)
const filter = (random) => ['', '+/'][random(2)] + (text(random) || 'x') + ['', '/#'][random(2)]

function packet (random, number) {
  const messageId = 1 + random(65535)
  const cmds = ['puback', 'pubrec', 'pubrel', 'pubcomp', 'unsuback', 'pingreq', 'pingresp', 'disconnect']
  switch (number % 14) {
    case 0: {
      const known = random(2)
      const clientId = text(random)
      return {
        cmd: 'connect',
        protocolId: 'MQTT',
        protocolVersion: 4,
        clean: clientId === '' || random(2) === 1,
        clientId,
        keepalive: random(65536),
        will: random(2)
          ? { topic: text(random) || 'w', payload: bytes(random), qos: random(3), retain: random(2) === 1 }
          : undefined,
        username: known ? text(random) || 'u' : undefined,
        password: known && random(2) ? bytes(random) : undefined
      }
    }
    case 1: {
      const returnCode = random(6)
      return { cmd: 'connack', returnCode, sessionPresent: returnCode === 0 && random(2) === 1 }
    }
    case 2: {
      const qos = random(3)
      const topic = text(random) || 't'
      const id = qos > 0 ? messageId : undefined
      const dup = qos > 0 && random(2) === 1
      return { cmd: 'publish', topic, payload: bytes(random), qos, retain: random(2) === 1, dup, messageId: id }
    }
    case 3:
      return { cmd: 'subscribe', messageId, subscriptions: several(random, () => ({ topic: filter(random), qos: random(3) })) }
    case 4:
      return { cmd: 'suback', messageId, granted: several(random, () => [0, 1, 2, 128][random(4)]) }
    case 5:
      return { cmd: 'unsubscribe', messageId, unsubscriptions: several(random, () => filter(random)) }
    default:
      return { cmd: cmds[number % 14 - 6], messageId }
  }
}

// Overwrites, removes or inserts a few bytes. Often corrects the Remaining Length afterwards.
function damage (random, original) {
  const body = [...original]
  const interesting = [0, 1, 2, 3, 4, 0x23, 0x2b, 0x2f, 0x7f, 0x80, 0xc0, 0xed, 0xff]
  for (let edits = 1 + random(3); edits > 0; edits--) {
    const at = random(body.length + 1)
    const byte = random(2) ? random(256) : interesting[random(interesting.length)]
    if (random(3) === 0) body.splice(at, 0, byte)
    else if (random(2) && body.length > 1) body.splice(at, 1)
    else if (at < body.length) body[at] = random(2) ? byte : body[at] ^ (1 << random(8))
  }
  if (random(3) > 0 && body.length > 1) {
    const end = body.findIndex((byte, at) => at > 0 && byte < 128)
    const rest = body.slice(end < 0 ? body.length : end + 1)
    const length = []
    let left = rest.length
    do {
      length.push(left % 128 + (left > 127 ? 128 : 0))
      left >>= 7
    } while (left > 0)
    return Buffer.from([body[0], ...length, ...rest])
  }
  return Buffer.from(body)
}

const print = (bytes, sent) =>
  process.stdout.write(JSON.stringify({ bytes: hex(bytes), sent, theirs: decode(bytes) }) + '\n')

function generate (seed, count) {
  const random = randomness(seed)
  for (let number = 0; number < count; number++) {
    const made = packet(random, number)
    let bytes
    try {
      bytes = mqtt.generate(made)
    } catch {
      continue // Packets that it refuses to write are skipped.
    }
    if (random(2)) print(bytes, fields(made))
    else print(damage(random, bytes), null)
  }
}

const [command, seed, count] = process.argv.slice(2)
if (command === 'decode') {
  createInterface({ input: process.stdin }).on('line', (line) => {
    const { bytes, sent } = JSON.parse(line)
    print(Buffer.from(bytes, 'hex'), sent)
  })
} else {
  generate(Number(seed), Number(count))
}
