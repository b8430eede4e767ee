// The Node client of the tests (kafkajs). Command line and output: tests/clients/README.md.
'use strict'
const fs = require('node:fs')
const { Socket } = require('node:net')
const { Kafka, logLevel, Partitioners } = require('kafkajs')

const start = Date.now()
let errors = 0
let stopping = false

const words = process.argv.slice(2)
const command = words[0] ?? ''
let action = ''
const options = {}
for (let at = 1; at < words.length; at++) {
  const word = words[at]
  if (!word.startsWith('--')) action = word
  else if (at + 1 < words.length && !words[at + 1].startsWith('--')) options[word.slice(2)] = words[++at]
  else options[word.slice(2)] = 'yes'
}
const topic = options.topic ?? ''
const clientId = options['client-id'] ?? 'node'
const count = options.count ? Number(options.count) : Infinity
const timeout = Number(options.timeout ?? 60) * 1000
const metadataMaxAge = Number(options['metadata-age'] ?? 300000)

const show = line => process.stdout.write(JSON.stringify(line) + '\n')
const fail = error => {
  errors++
  show({ error: String(error) })
}
// All is closed by now, so nothing should hold the process. But kafkajs 2.2.4 makes two sockets when two requests find
// their connection gone at the same time, and forgets the first (getConnection in network/connectionPool.js): that one
// would hold it until the other end's limit for idle connections. Its documentation ends programs with exit(), too.
function done(count) {
  const forgotten = process._getActiveHandles().filter(it => it instanceof Socket && it.remotePort && !it.writableEnded)
  if (forgotten.length) show({ event: 'forgotten', connections: forgotten.length })
  show({ event: 'done', count, errors, ms: Date.now() - start })
}
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

function login() {
  const user = options.user ?? ''
  if (options.sasl === 'oauthbearer') return { mechanism: 'oauthbearer', oauthBearerProvider: async () => ({ value: token(user) }) }
  const mechanism = options.sasl === 'plain' ? 'plain' : 'scram-sha-256'
  return { mechanism, username: user, password: options.password ?? '' }
}

// An unsecured JWS (RFC 7515, appendix A.5), which Kafka's own test mechanism believes.
function token(user) {
  const part = value => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Math.floor(Date.now() / 1000)
  return `${part({ alg: 'none' })}.${part({ sub: user, iat: now, exp: now + 3600 })}.`
}

function client() {
  return new Kafka({
    clientId,
    brokers: (options.bootstrap ?? '').split(','),
    logLevel: options.debug ? logLevel.DEBUG : logLevel.NOTHING,
    ssl: options['tls-ca'] ? { ca: [fs.readFileSync(options['tls-ca'], 'utf8')] } : undefined,
    sasl: options.sasl ? login() : undefined
  })
}

async function produce() {
  const transactional = options.transactional
  const producer = client().producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    metadataMaxAge,
    idempotent: Boolean(options.idempotent || transactional),
    maxInFlightRequests: options.idempotent || transactional ? 1 : undefined,
    transactionalId: transactional
  })
  const acks = options.acks === undefined || options.acks === 'all' ? -1 : Number(options.acks)
  const batch = Number(options.batch ?? 100)
  const rate = Number(options.rate ?? 0)
  const size = Number(options.size ?? 100)
  await producer.connect()
  let acked = 0
  for (let n = 0; n < count && !stopping; ) {
    // With a rate: as many as are due by now, at least one.
    if (rate) await sleep(Math.max(0, start + (n * 1000) / rate - Date.now()))
    const due = rate ? Math.max(1, Math.floor(((Date.now() - start) * rate) / 1000) - n) : batch
    const messages = []
    for (const end = Math.min(count, n + Math.min(batch, due)); n < end; n++) {
      messages.push({ key: `k${n % 16}`, value: `${clientId}|${n}|`.padEnd(size, 'x') })
    }
    const first = n - messages.length
    try {
      const through = transactional ? await producer.transaction() : producer
      const replies = await through.send({ topic, acks, messages })
      if (transactional) await through.commit()
      acked += messages.length
      // kafkajs tells the first offset of each partition of a batch, not that of each record.
      for (let at = 0; at < messages.length; at++) show({ event: 'acked', seq: first + at, partition: -1, offset: -1 })
      for (const { partition, baseOffset } of replies ?? []) show({ event: 'batch', partition, offset: Number(baseOffset) })
    } catch (error) {
      fail(error)
    }
  }
  await producer.disconnect()
  done(acked)
}

async function consume() {
  const consumer = client().consumer({
    groupId: options.group ?? 'test',
    metadataMaxAge,
    rackId: options.rack,
    retry: { restartOnFailure: async () => false }
  })
  let seen = 0
  consumer.on(consumer.events.CRASH, ({ payload }) => fail(payload.error))
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const assigned = payload.memberAssignment[topic] ?? []
    show({ event: 'assigned', partitions: assigned.map(partition => `${topic}-${partition}`) })
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      if (seen >= count) return
      const [, producer, seq] = /^(.*)\|(\d+)\|x*$/.exec(message.value.toString())
      show({ event: 'record', producer, seq: Number(seq), partition, offset: Number(message.offset) })
      seen++
    }
  })
  while (seen < count && !stopping && errors === 0 && Date.now() - start < timeout) await sleep(20)
  await consumer.disconnect()
  if (options.count && seen < count && !stopping) fail(`timed out with ${seen} of ${count} records`)
  done(seen)
}

async function withAdmin(work) {
  const admin = client().admin()
  await admin.connect()
  try {
    await work(admin)
  } finally {
    await admin.disconnect()
  }
}

async function cluster(admin) {
  const found = await admin.describeCluster()
  const brokers = found.brokers.map(({ nodeId, host, port }) => ({ id: nodeId, host, port, rack: null }))
  return { cluster_id: found.clusterId, controller: found.controller, brokers }
}

async function topics(admin) {
  const found = await admin.fetchTopicMetadata(topic ? { topics: [topic] } : undefined)
  return found.topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ partitionId, leader, replicas }) => ({ id: partitionId, leader, replicas }))
  }))
}

async function act(admin) {
  switch (action) {
    case 'create-topic': {
      const numPartitions = Number(options.partitions ?? 3)
      // Waiting for leaders fails when the controller knows the topic before the broker does.
      await admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions, replicationFactor: 1 }] })
      return show({ event: 'created', topic })
    }
    case 'describe-cluster':
      return show({ event: 'cluster', ...(await cluster(admin)) })
    case 'describe-topics':
      return show({ event: 'topics', topics: await topics(admin) })
    case 'list-groups':
      return show({ event: 'groups', groups: (await admin.listGroups()).groups.map(group => group.groupId) })
    default:
      throw new Error(`unknown action: ${action}`)
  }
}

async function main() {
  process.on('SIGTERM', () => (stopping = true))
  try {
    if (command === 'produce') await produce()
    else if (command === 'consume') await consume()
    else if (command === 'admin') await withAdmin(act)
    else if (command === 'metadata') {
      await withAdmin(async admin =>
        show({ event: 'metadata', ...(await cluster(admin)), topics: await topics(admin) })
      )
    } else throw new Error(`unknown command: ${command}`)
  } catch (error) {
    fail(error)
  }
  process.exit(errors ? 1 : 0) // and not when nothing is left to do: see done()
}

main()
