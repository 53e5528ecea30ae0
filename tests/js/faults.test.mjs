// Dependencies fail while users write: every answer is correct and in time, nothing acknowledged is lost or stored twice, and
// recovery needs no operator. These tests stop services, so they are a suite of their own: `cargo xtask test faults`.
import { after, afterEach, beforeEach, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { ROOT, api, awaitSms, closeSql, deviceInfo, differences, freshPhone, ok, signInAnonymously, signInByPhone, sleep, sql } from './lib.mjs'
import { LONGEST_ANSWER, Load, entry, restoreServices, operate, outage, recovery, refreshByGateway, rest, selectByApp, whileFull, whileLocked } from './faults-fixtures.mjs'
import { largeDiary } from './dumps.mjs'

const profile = someone => () => someone.api('GET', '/user/profile')
const create = someone => () => someone.api('POST', '/waste/entries', { body: entry() })
const select = someone => () => rest(someone, 'GET', 'waste_entries?select=id&limit=1')
const ready = () => api('GET', '/health/ready')

/** The same after the second for which the Worker caches it. */
const readyAgain = () => sleep(1_100).then(ready)

/** The calls that need the database, by every interface: each answers 503 in time. */
const assertNoDatabase = someone => Promise.all([
  outage('profile', profile(someone)),
  outage('create', create(someone)),
  outage('batch', () => someone.api('POST', '/waste/entries/batch', { body: { entries: [entry()] } })),
  outage('migration', () => someone.api('POST', '/user/migrate-local', { body: { waste_entries: [] } })),
  outage('sync', () => someone.api('POST', '/user/sync/request', { body: { since_revision: 0, limit: 10 } })),
  outage('own place', () => someone.api('GET', '/gamification/profile')),
  outage('own achievements', () => someone.api('GET', '/gamification/achievements')),
  outage('challenges derived again', () => someone.api('POST', '/gamification/challenges/progress')),
  outage('ready', readyAgain),
  outage('REST select', select(someone)),
  outage('REST rpc', () => rest(someone, 'POST', 'rpc/create_waste_entry', { entry: entry() })),
  outage('supabase-js', () => selectByApp(someone)),
])

/** A long call does not wait for a lock: it answers in time that a twin may be running, or that the database is unavailable. */
async function comesAgain(what, call) {
  const begun = performance.now()
  const answer = await call()
  assert.ok(performance.now() - begun < LONGEST_ANSWER, what)
  if (answer.status === 503) return
  assert.deepEqual([answer.status, answer.error?.details?.reason], [429, 'already_running'], `${what}: ${answer.text}`)
}

const assertWritesWork = async someone => {
  await recovery('ready', ready)
  await recovery('create', create(someone))
  await recovery('select', select(someone))
}

describe('faults', () => {
  let load
  let someone

  beforeEach(async () => {
    load = await Load.begin()
    someone = await signInAnonymously()
  })
  afterEach(async () => {
    await restoreServices()
    await load.end()
  })
  after(closeSql)

  // The first outage is long enough that PostgREST, left to recover on its own, would back off for long.
  for (const [action, away] of [['stop', 6_000], ['kill', 300], ['crash', 300]]) {
    test(`PostgreSQL: ${action}`, async () => {
      await operate(action, 'postgres')
      await sleep(away)
      await assertNoDatabase(someone)
      const log = path.join(ROOT, '.local/logs/postgres.log')
      const { size } = fs.statSync(log)
      await operate('start', 'postgres')
      await assertWritesWork(someone)
      // The hook that writes the log for clients does not hold up recovery or change its messages.
      const written = fs.readFileSync(log).subarray(size).toString()
      assert.match(written, action === 'kill' ? /automatic recovery in progress[^]*redo starts at[^]*ready to accept connections/ : /ready to accept connections/)
    })
  }

  test('PostgreSQL stops while Realtime listens, even after a message that is shorter in its log', async () => {
    await sql(`select realtime.send(jsonb_build_object('text', repeat('x', 200000)), 'probe', 'user:' || $1 || ':gamification', true)`, [someone.id])
    const begun = performance.now()
    await operate('stop', 'postgres')
    assert.ok(performance.now() - begun < 15_000, 'nothing has to be killed')
    await operate('start', 'postgres')
    await assertWritesWork(someone)
  })

  test('PostgREST killed, and crashed', async () => {
    await operate('kill', 'postgrest')
    await assertNoDatabase(someone)
    await operate('start', 'postgrest')
    await assertWritesWork(someone)
    await operate('crash', 'postgrest')
    await assertWritesWork(someone)
  })

  test('PostgREST and PostgreSQL halted', async () => {
    for (const service of ['postgrest', 'postgres']) {
      await operate('pause', service)
      await assertNoDatabase(someone)
      await operate('resume', service)
      await assertWritesWork(someone)
    }
  })

  test('the gateway killed, and halted', async () => {
    load.serviceMayBeDown = true
    const byWorker = () => Promise.all([outage('profile', profile(someone)), outage('create', create(someone)), outage('ready', readyAgain),
      outage('anonymous', () => api('POST', '/auth/anonymous', { body: { device_info: deviceInfo() } }))])
    await operate('kill', 'gateway')
    await byWorker()
    await operate('start', 'gateway')
    await assertWritesWork(someone)
    await operate('pause', 'gateway')
    await byWorker()
    await operate('resume', 'gateway')
    await assertWritesWork(someone)
  })

  for (const [begin, end] of [['kill', 'start'], ['pause', 'resume']]) {
    test(`Auth: ${begin}`, async () => {
      const [first, second] = [await signInByPhone(), await signInAnonymously()]
      const phone = freshPhone()
      const device = deviceInfo()
      const requested = ok(await api('POST', '/auth/phone-otp', { body: { phone_number: phone.typed } }))
      const { code } = await awaitSms(phone.bare)
      const verify = () => api('POST', '/auth/verify-otp', { body: { otp_id: requested.otp_id, otp_code: code, device_info: device } })
      await operate(begin, 'auth')
      await Promise.all([
        outage('phone-otp', () => api('POST', '/auth/phone-otp', { body: { phone_number: freshPhone().typed } })),
        outage('verify-otp', verify),
        outage('anonymous', () => api('POST', '/auth/anonymous', { body: { device_info: deviceInfo() } })),
        outage('refresh', () => api('POST', '/auth/refresh', { body: { refresh_token: first.refreshToken } })),
        outage('logout', () => api('POST', '/auth/logout', { token: second.token })),
        outage('refresh by supabase-js', () => refreshByGateway(first.refreshToken)),
        outage('ready', readyAgain),
      ])
      // Signed-in users are not affected.
      ok(await profile(someone)())
      await operate(end, 'auth')
      await recovery('anonymous', () => api('POST', '/auth/anonymous', { body: { device_info: deviceInfo() } }))
      // The failed tries did not use up the correct code.
      ok(await verify())
    })
  }

  test('Auth without its database', async () => {
    const before = await signInAnonymously()
    await operate('stop', 'postgres')
    await Promise.all([
      outage('refresh', () => api('POST', '/auth/refresh', { body: { refresh_token: before.refreshToken } })),
      outage('refresh by supabase-js', () => refreshByGateway(before.refreshToken)),
      outage('phone-otp', () => api('POST', '/auth/phone-otp', { body: { phone_number: freshPhone().typed } })),
    ])
    await operate('start', 'postgres')
    await recovery('refresh', () => api('POST', '/auth/refresh', { body: { refresh_token: before.refreshToken } }))
  })

  test('the Worker killed in the middle of a batch and of a migration', async () => {
    load.serviceMayBeDown = true
    const batch = Array.from({ length: 400 }, (_, index) => entry({ offline_id: `batch-${index}` }))
    const { dump, good } = largeDiary(2_000)
    const send = [
      ['/waste/entries/batch', { entries: batch }, batch.length, answer => [answer.created, answer.duplicates]],
      ['/user/migrate-local', dump, good.length, answer => [answer.migrated_entries, answer.duplicate_entries]],
    ]
    for (const [route, body, all, counts] of send) {
      for (const wait of [40, 250]) {
        const one = await signInAnonymously()
        const lost = one.api('POST', route, { body }).then(answer => answer.status, () => 'no answer')
        await sleep(wait)
        await operate('kill', 'edge')
        const first = await lost
        await operate('start', 'edge')
        await recovery('ready', ready)
        const [created, duplicates] = counts(ok(await one.api('POST', route, { body })))
        assert.ok((created === all && duplicates === 0 && first !== 200) || (created === 0 && duplicates === all),
          `all or nothing the first time (${first}): then ${created} created, ${duplicates} duplicates`)
        const [{ count }] = await sql('select count(*) from public.waste_entries where user_id = $1', [one.id])
        assert.equal(Number(count), all)
        assert.deepEqual(await differences(one), [])
      }
    }
  })

  test('a slow database: statements are cancelled, the pool fills up, and no call takes longer than 10 s', async () => {
    const others = await Promise.all(Array.from({ length: 5 }, signInAnonymously))
    await whileLocked(async () => {
      const writes = others.flatMap(one => [
        outage('create', create(one)),
        outage('REST insert', () => rest(one, 'POST', 'waste_entries', entry())),
        outage('REST rpc', () => rest(one, 'POST', 'rpc/create_waste_entry', { entry: entry() })),
        outage('REST rpc', () => rest(one, 'POST', 'rpc/create_waste_entry', { entry: entry() })),
        comesAgain('migration', () => one.api('POST', '/user/migrate-local', { body: { waste_entries: [entry({ logged_at: new Date().toISOString() })] } })),
      ])
      await sleep(1_000)
      // By now all connections of PostgREST wait for the lock. Writers give up before callers that wait for a connection do, so
      // a read of what is not locked is answered.
      const begun = performance.now()
      const [read] = await Promise.all([select(someone)(), outage('profile', profile(someone))])
      assert.equal(read.status, 200, read.text)
      assert.ok(performance.now() - begun < LONGEST_ANSWER)
      await Promise.all(writes)
    })
    await assertWritesWork(someone)
  })

  test('no connection left in PostgreSQL', async () => {
    await whileFull(async () => {
      // A running PostgREST has its connections; one that starts now gets none.
      await operate('crash', 'postgrest')
      await sleep(200)
      await Promise.all([outage('profile', profile(someone)), outage('create', create(someone)), outage('REST select', select(someone))])
    })
    await assertWritesWork(someone)
  })

  test('a Durable Object that throws, and one that hangs', async () => {
    for (const fault of ['object-throws', 'object-hangs']) {
      const headers = { 'x-carbon-fault': fault }
      const phone = freshPhone()
      const asking = more => api('POST', '/auth/phone-otp', { body: { phone_number: phone.typed }, ...more })
      await outage(fault, () => asking({ headers }))
      const requested = ok(await asking())
      const { code } = await awaitSms(phone.bare)
      const verify = more => api('POST', '/auth/verify-otp', { body: { otp_id: requested.otp_id, otp_code: code, device_info: deviceInfo() }, ...more })
      await outage(fault, () => verify({ headers }))
      ok(await verify())
    }
  })

  test('the SMS provider down', async () => {
    await operate('kill', 'inbox')
    const phone = freshPhone()
    const begun = performance.now()
    const answer = await api('POST', '/auth/phone-otp', { body: { phone_number: phone.typed } })
    assert.ok(performance.now() - begun < LONGEST_ANSWER)
    // The message is sent after the answer, so the answer may be a success; it must not be an internal error.
    assert.ok([200, 503].includes(answer.status), answer.text)
    ok(await profile(someone)())
    await operate('start', 'inbox')
    await recovery('sign-in', async () => ({ status: (await signInByPhone().then(() => 200, () => 0)), text: 'no sign-in' }))
  })
})
