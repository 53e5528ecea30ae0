// A token whose session has ended is refused by every endpoint of the Worker.
import { after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { api, awaitSms, closeSql, deviceInfo, env, ok, refused, signInByPhone, sleep, uuid } from './lib.mjs'
import { rawDump } from './dumps.mjs'

const admin = (method, path, body) => fetch(`${env.SUPABASE_URL}/auth/v1/admin/users/${path}`, {
  method, body: body && JSON.stringify(body),
  headers: { apikey: env.SERVICE_ROLE_KEY, authorization: `Bearer ${env.SERVICE_ROLE_KEY}`, 'x-edge-secret': env.EDGE_SECRET, 'content-type': 'application/json' },
})

describe('a session that has ended', () => {
  after(closeSql)
  const entry = { category_id: 'food_waste', disposal_method: 'reduced', weight_kg: 1 }
  const id = uuid()
  /** Every endpoint that takes a token, with a valid request. */
  const endpoints = [
    ['GET', '/user/profile'], ['PUT', '/user/profile', { district: 'x' }], ['POST', '/user/migrate-local', rawDump({ first_visit: 'true' })], ['DELETE', `/user/migrate-local/${id}`],
    ['GET', '/user/sync/status'], ['POST', '/user/sync/request', { since_revision: 0, limit: 1 }], ['POST', '/waste/entries', entry], ['GET', '/waste/entries'],
    ['POST', '/waste/entries/batch', { entries: [entry] }], ['GET', `/waste/entries/${id}`], ['PUT', `/waste/entries/${id}`, { weight_kg: 1 }], ['DELETE', `/waste/entries/${id}`],
    ['GET', '/waste/stats/daily'], ['GET', '/waste/stats/monthly'], ['GET', '/waste/stats/category'], ['GET', '/waste/leaderboard'], ['GET', '/gamification/leaderboard'],
    ['GET', '/gamification/profile'], ['GET', '/gamification/achievements'], ['POST', '/gamification/achievement/check'], ['GET', '/gamification/challenges/today'],
    ['GET', '/gamification/challenges/history'], ['POST', '/gamification/challenges/progress'],
  ]
  for (const [what, end] of [
    ['by logging out', async someone => { ok(await someone.api('POST', '/auth/logout')) }],
    ['by a ban', async someone => { assert.equal((await admin('PUT', someone.id, { ban_duration: '24h' })).status, 200) }],
    ['with the account', async someone => { assert.equal((await admin('DELETE', someone.id)).status, 200) }],
  ]) {
    test(`${what} is AUTH_INVALID at every endpoint, even where signed-out visitors get a cached answer`, async () => {
      const someone = await signInByPhone()
      for (const route of ['/gamification/leaderboard', '/gamification/achievements', '/gamification/challenges/today']) ok(await api('GET', route))
      const tag = (await someone.api('GET', '/user/profile')).headers.get('etag')
      await end(someone)
      for (const [method, route, body] of endpoints) {
        const error = refused(await someone.api(method, route, { body, lang: 'en' }), 401, 'AUTH_INVALID')
        assert.ok(error.message, route)
      }
      refused(await someone.api('GET', '/user/profile', { headers: { 'if-none-match': tag } }), 401, 'AUTH_INVALID')
      refused(await someone.api('POST', '/waste/entries', { body: entry, headers: { 'idempotency-key': uuid() } }), 401, 'AUTH_INVALID')
    })
  }

  test('ends no other session of the person', async () => {
    const someone = await signInByPhone()
    await sleep(1100)
    const requested = ok(await api('POST', '/auth/phone-otp', { body: { phone_number: someone.phone.typed, device_token: someone.session.device_token } }))
    const { code } = await awaitSms(someone.phone.bare, 2)
    const other = ok(await api('POST', '/auth/verify-otp', { body: { otp_id: requested.otp_id, otp_code: code, device_info: deviceInfo() } }))
    ok(await someone.api('POST', '/auth/logout'))
    ok(await api('GET', '/user/profile', { token: other.access_token }))
  })
})
