// Limits of addresses, tokens and users at the gateway and at Realtime.
import { after, afterEach, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { closeSql, env, signInAnonymously } from './lib.mjs'
import { call, freshAddress, server, startWorker } from './limits-fixtures.mjs'
import { SHARED, hangUp, join, listener, refusedJoin } from './realtime-fixtures.mjs'

/** A request to the gateway from an address of 127.0.0.0/8. */
const ask = (method, path, { from, token = env.ANON_KEY, headers = {}, body, agent = false } = {}) => new Promise((done, fail) => {
  const { hostname: host, port } = new URL(env.SUPABASE_URL)
  const request = http.request({
    host, port, method, path, localAddress: from, agent,
    headers: { apikey: env.ANON_KEY, authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json', 'content-length': body.length }), ...headers },
  }, answer => {
    let text = ''
    answer.setEncoding('utf8').on('data', part => { text += part }).on('end', () => done({ status: answer.statusCode, headers: answer.headers, text }))
  })
  request.on('error', fail).end(body)
})

describe('limits of the gateway', () => {
  let person
  before(async () => { person = await signInAnonymously() })
  afterEach(hangUp)
  after(closeSql)

  test('an address that floods is told to wait, and nobody else is', { timeout: 120_000 }, async () => {
    const from = freshAddress()
    const agent = new http.Agent({ keepAlive: true, maxSockets: 16, localAddress: from })
    let [letIn, refusal] = [0, undefined]
    // PostgREST refuses this token, but the gateway counts the request regardless of its outcome.
    const flood = async () => {
      while (!refusal && letIn < 20_000) {
        const answer = await ask('GET', '/rest/v1/waste_categories', { from, agent, token: 'a.b.c' })
        if (answer.status === 429) refusal = answer
        else letIn += 1
      }
    }
    const begun = Date.now()
    await Promise.all(Array.from({ length: 16 }, flood))
    const secs = (Date.now() - begun) / 1000
    agent.destroy()
    assert.ok(refusal, `${letIn} in ${secs} s, and none refused`)
    assert.ok(letIn >= 300 && letIn <= 300 + 20 * secs + 16, `${letIn} in ${secs} s`)
    assert.equal(JSON.parse(refusal.text).code, 'rate_limited')
    assert.ok(Number(refusal.headers['retry-after']) >= 1)
    assert.equal((await ask('GET', '/rest/v1/waste_categories', { from: freshAddress(), token: person.token })).status, 200)
    // Through the Worker and with the keys the same address goes on, because those calls are counted elsewhere.
    assert.equal((await call('GET', '/user/profile', { from, token: person.token })).status, 200)
    assert.equal((await ask('GET', '/rest/v1/waste_categories', { from, token: env.SERVICE_ROLE_KEY, headers: { apikey: env.SERVICE_ROLE_KEY } })).status, 200)
  })

  test('the Worker states its caller\'s address, with a secret that serves nothing else', { timeout: 60_000 }, async () => {
    const seen = []
    const origin = await server((_, { headers }) => { seen.push(headers); return [200, {}] })
    const worker = await startWorker({ SUPABASE_URL: origin.url, JWT_ISSUER: person.claims.iss })
    try {
      const from = freshAddress()
      await call('GET', '/user/profile', { base: worker.base, from, token: person.token })
      const forwarded = seen.find(one => one.authorization === `Bearer ${person.token}`)
      assert.ok(forwarded, 'the origin is forwarded as the person')
      assert.equal(forwarded['x-edge-client'], from)
      assert.equal(forwarded['x-edge-client-proof'], env.EDGE_ADDRESS_SECRET)
      assert.notEqual(env.EDGE_ADDRESS_SECRET, env.EDGE_SECRET)
      assert.equal(forwarded['x-edge-secret'], undefined)
    } finally {
      await worker.stop()
      await origin.stop()
    }
  })

  test('the gateway counts the changes that users make to themselves in Auth', async () => {
    const someone = await signInAnonymously()
    const body = Buffer.from('{"data":{"theme":"dark"}}')
    const put = from => ask('PUT', '/auth/v1/user', { from, token: someone.token, body })
    const statuses = []
    for (let n = 0; n < 14; n++) statuses.push((await put(freshAddress())).status)
    assert.equal(statuses.slice(0, 10).every(status => status === 200), true, `${statuses}`)
    assert.ok(statuses.includes(429), `${statuses}`)
  })

  test('each user has twenty connections to Realtime', { timeout: 60_000 }, async () => {
    for (let n = 0; n < 20; n++) await join(await listener(person), SHARED)
    assert.match(await refusedJoin(await listener(person), SHARED), /ConnectionRateLimitReached|20 connections/)
    await join(await listener(await signInAnonymously()), SHARED)
  })
})
