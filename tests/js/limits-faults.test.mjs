// While a Durable Object fails, the requests that it counts are refused, not let through.
import { test } from 'node:test'
import { api, deviceInfo, freshPhone, ok, signInAnonymously } from './lib.mjs'
import { entry, outage } from './faults-fixtures.mjs'

test('an object that throws or hangs answers 503 in time, and the next request is counted as before', async () => {
  const someone = await signInAnonymously()
  for (const fault of ['object-throws', 'object-hangs']) {
    const headers = { 'x-carbon-fault': fault }
    await Promise.all([
      outage(`create, ${fault}`, () => someone.api('POST', '/waste/entries', { body: entry(), headers })),
      outage(`board, ${fault}`, () => api('GET', '/gamification/leaderboard', { headers })),
      outage(`anonymous, ${fault}`, () => api('POST', '/auth/anonymous', { body: { device_info: deviceInfo() }, headers })),
      outage(`phone-otp, ${fault}`, () => api('POST', '/auth/phone-otp', { body: { phone_number: freshPhone().typed }, headers })),
    ])
  }
  ok(await someone.api('POST', '/waste/entries', { body: entry() }), 201)
})
