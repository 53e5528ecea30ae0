// The health endpoints.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { api, env, ok } from './lib.mjs'

const secrets = ['ANON_KEY', 'SERVICE_ROLE_KEY', 'JWT_SECRET', 'NAMES_SECRET', 'CODE_SECRET', 'EDGE_SECRET', 'EDGE_ADDRESS_SECRET', 'HOOK_SECRET', 'METRICS_TOKEN'].map(name => env[name]).filter(Boolean)

test('live, ready and each area answer without a token', async () => {
  assert.deepEqual(ok(await api('GET', '/health')), { status: 'ok' })
  assert.deepEqual(ok(await api('GET', '/health/live')), { status: 'ok' })
  for (const route of ['/health/ready', '/user/health']) assert.deepEqual(ok(await api('GET', route)), { status: 'ok', checks: { database: 'ok', auth: 'ok' } })
  for (const area of ['waste', 'gamification', 'social', 'analytics']) assert.deepEqual(ok(await api('GET', `/${area}/health`)), { status: 'ok', checks: { database: 'ok' } }, area)
})

test('the detailed answer has the state and milliseconds of each dependency, and no secret', async () => {
  const answer = await api('GET', '/health/detailed')
  const { status, checks } = ok(answer)
  assert.equal(status, 'ok')
  assert.deepEqual(Object.keys(checks).sort(), ['auth', 'database'])
  for (const check of Object.values(checks)) {
    assert.equal(check.status, 'ok')
    assert.ok(Number.isInteger(check.latency_ms) && check.latency_ms >= 0 && check.latency_ms < 2000)
  }
  for (const secret of [...secrets, env.SUPABASE_URL, '127.0.0.1']) assert.ok(!answer.text.includes(secret))
})

test('health and metrics answer without the prefix too, areas do not', async () => {
  for (const path of ['/health', '/health/live', '/health/ready', '/health/detailed']) assert.equal((await fetch(`${env.API_URL}${path}`)).status, 200, path)
  assert.equal((await fetch(`${env.API_URL}/metrics`)).status, 401)
  assert.equal((await fetch(`${env.API_URL}/waste/health`)).status, 404)
})
