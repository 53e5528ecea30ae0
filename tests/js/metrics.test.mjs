// /metrics in Prometheus's format, and the request's id in the logs of the Worker and the database.
import { after, test } from 'node:test'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import { ROOT, api, closeSql, env, ok, refused, signInAnonymously, sleep, sql, uuid } from './lib.mjs'

after(closeSql)
const read = async (base = '/api/v1') => {
  const response = await fetch(`${env.API_URL}${base}/metrics`, { headers: { authorization: `Bearer ${env.METRICS_TOKEN}` } })
  assert.equal(response.status, 200)
  assert.match(response.headers.get('content-type'), /^text\/plain; version=0\.0\.4/)
  const text = await response.text()
  const samples = new Map(text.split('\n').filter(line => line && !line.startsWith('#')).map(line => {
    const [, series, value] = /^([a-z_]+(?:\{(?:[a-z]+="[^"\\]*",?)+\})?) ([0-9.]+)$/.exec(line) ?? assert.fail(line)
    return [series, Number(value)]
  }))
  return { text, samples }
}
const value = ({ samples }, name, labels) => samples.get(`${name}{${Object.entries(labels).map(([label, expected]) => `${label}="${expected}"`).join()}}`) ?? 0

test('only the holder of the token reads the metrics', async () => {
  refused(await api('GET', '/metrics'), 401, 'AUTH_REQUIRED')
  const someone = await signInAnonymously()
  for (const token of [someone.token, `${env.METRICS_TOKEN}x`, env.METRICS_TOKEN.slice(0, -1), env.METRICS_TOKEN.toUpperCase(), 'x']) {
    refused(await api('GET', '/metrics', { token }), 401, 'AUTH_INVALID')
  }
})

test('requests are counted by route, method and status, and never by values that a caller invents', async () => {
  const labels = { route: '/waste/entries/{id}', method: 'GET', status: '404' }
  const before = value(await read(), 'carbon_http_requests_total', labels)
  const someone = await signInAnonymously()
  const made_up = uuid()
  for (let i = 0; i < 3; i++) refused(await someone.api('GET', `/waste/entries/${made_up}`), 404, 'NOT_FOUND')
  await api('PROPFIND', `/${made_up}`)
  const metrics = await read('')
  assert.equal(value(metrics, 'carbon_http_requests_total', labels) - before, 3)
  assert.ok(!metrics.text.includes(made_up) && !metrics.text.includes('PROPFIND'))
  assert.ok(!/\d{6,}-|66[89]\d{8}|eyJ/.test(metrics.text), 'no ids, numbers or tokens')
})

// The format of the entire text is checked by Prometheus's own parser: tests/openapi/metrics.py.
test('the latency histogram counts every request of a route', async () => {
  ok(await api('GET', '/health/ready'))
  const metrics = await read()
  const total = [...metrics.samples].filter(([series]) => series.startsWith('carbon_http_requests_total{route="/health/ready"')).reduce((sum, [, count]) => sum + count, 0)
  assert.equal(value(metrics, 'carbon_http_request_duration_seconds_count', { route: '/health/ready' }), total)
  assert.equal(value(metrics, 'carbon_http_request_duration_seconds_bucket', { route: '/health/ready', le: '+Inf' }), total)
})

test('hits and misses of the cache are counted', async () => {
  const board = `/gamification/leaderboard?limit=${61 + Math.floor(Math.random() * 39)}&page=${Math.floor(Math.random() * 1000) + 1}`
  const before = await read()
  ok(await api('GET', board))
  await sleep(200)
  ok(await api('GET', board))
  const then = await read()
  for (const name of ['carbon_cache_hits_total', 'carbon_cache_misses_total']) {
    assert.ok(value(then, name, { class: 'board' }) > value(before, name, { class: 'board' }), name)
  }
})

test('counters only grow, and count each request once', async () => {
  const count = async () => value(await read(), 'carbon_http_requests_total', { route: '/health', method: 'GET', status: '200' })
  const before = await count()
  await Promise.all(Array.from({ length: 40 }, () => api('GET', '/health')))
  await sleep(100)
  assert.equal(await count() - before, 40)
})

test('a request\'s id is in the answer, in the Worker\'s log line and in the database\'s', async () => {
  const someone = await signInAnonymously()
  const lock = new pg.Client({ connectionString: env.DB_URL })
  await lock.connect()
  await lock.query('begin')
  await lock.query('select 1 from private.user_state where user_id = $1 for update', [someone.id])
  // The database gives up waiting after 3 s, and logs it.
  const answer = await someone.api('POST', '/waste/entries', { body: { category_id: 'food_waste', disposal_method: 'composted', weight_kg: 1 } })
  await lock.query('rollback')
  await lock.end()
  refused(answer, 503, 'SERVICE_UNAVAILABLE')
  assert.ok(Number(answer.headers.get('retry-after')) >= 1)
  const id = answer.headers.get('x-request-id')
  await sleep(200)
  const log = fs.readFileSync(path.join(ROOT, '.local/logs/edge.log'), 'utf8')
  const line = log.split('\n').find(one => one.includes(id) && one.includes('"request"'))
  assert.ok(line, 'the log names the request')
  const parsed = JSON.parse(line.slice(line.indexOf('{')))
  assert.deepEqual([parsed.route, parsed.method, parsed.status], ['/waste/entries', 'POST', 503])
  const database = fs.readFileSync(path.join(ROOT, '.local/logs/postgres.log'), 'utf8')
  assert.match(database, new RegExp(`lock timeout.*request ${id}|request ${id}.*lock timeout`))
})

test('a client cannot choose the id', async () => {
  const answer = await api('GET', '/health', { headers: { 'x-request-id': '0'.repeat(32) } })
  assert.notEqual(answer.headers.get('x-request-id'), '0'.repeat(32))
})
