// Idempotency-Key: every write of a signed-in user runs once for a key, regardless of how often and how quickly it is sent.
import { before, after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import pg from 'pg'
import { api, closeSql, differences, env, invalidField, ok, refused, signInAnonymously, sql, supabase, untilDone, uuid } from './lib.mjs'

const entry = (more = {}) => ({ category_id: 'metal_cans', disposal_method: 'recycled', weight_kg: 0.5, ...more })
const send = (someone, method, route, key, options = {}) =>
  someone.api(method, route, { ...options, headers: { ...options.headers, 'idempotency-key': key } })
/** Asserts the refusal that leaves the outcome of the twin open. */
function alreadyRunning(answer) {
  const { details } = refused(answer, 429, 'RATE_LIMITED')
  assert.equal(details.reason, 'already_running')
  assert.ok(Number(answer.headers.get('retry-after')) >= 1)
}
const replayed = answer => answer.headers.get('idempotent-replayed') === 'true'
const entriesOf = async someone => ok(await someone.api('GET', '/user/sync/status')).entries

describe('the same key again', () => {
  let someone
  before(async () => { someone = await signInAnonymously() })
  after(closeSql)

  test('returns the first answer with its status and writes nothing', async () => {
    const key = uuid()
    const first = await send(someone, 'POST', '/waste/entries', key, { body: entry() })
    const again = await send(someone, 'POST', '/waste/entries', key, { body: entry() })
    assert.deepEqual(ok(again, 201), ok(first, 201))
    assert.deepEqual([replayed(first), replayed(again)], [false, true])
    assert.equal(await entriesOf(someone), 1)
  })

  test('answers in the language of the repeated request', async () => {
    const key = uuid()
    const inThai = ok(await send(someone, 'POST', '/waste/entries', key, { body: entry(), lang: 'th' }), 201)
    const inEnglish = ok(await send(someone, 'POST', '/waste/entries', key, { body: entry(), lang: 'en' }), 201)
    assert.equal(inThai.id, inEnglish.id)
    assert.match(inThai.category_name, /[\u0E00-\u0E7F]/)
    assert.equal(inEnglish.category_name, 'Metal Cans')
  })

  test('with another body is a conflict, even if it means the same', async () => {
    const key = uuid()
    ok(await send(someone, 'POST', '/waste/entries', key, { raw: JSON.stringify(entry()) }), 201)
    for (const raw of [JSON.stringify(entry({ weight_kg: 1 })), JSON.stringify(entry()) + ' ']) {
      const error = refused(await send(someone, 'POST', '/waste/entries', key, { raw }), 409, 'CONFLICT')
      assert.equal(error.details.fields[0].code, 'idempotency_key_reused')
    }
  })

  test('a duplicate offline_id stays 200 when it is replayed', async () => {
    const offline_id = uuid()
    ok(await someone.api('POST', '/waste/entries', { body: entry({ offline_id }) }), 201)
    const key = uuid()
    const [one, two] = [await send(someone, 'POST', '/waste/entries', key, { body: entry({ offline_id }) }),
      await send(someone, 'POST', '/waste/entries', key, { body: entry({ offline_id }) })]
    assert.deepEqual(ok(two, 200), ok(one, 200))
    assert.ok(replayed(two))
  })

  for (const [name, method, route, options] of [
    ['a batch', 'POST', () => '/waste/entries/batch', () => ({ body: { entries: [entry(), entry({ weight_kg: -1 }), entry({ weight_kg: 2 })] } })],
    ['an update', 'PUT', id => `/waste/entries/${id}`, () => ({ body: { weight_kg: 7, notes: 'ใหม่' } })],
    ['a deletion', 'DELETE', id => `/waste/entries/${id}`, () => ({})],
    ['a profile', 'PUT', () => '/user/profile', () => ({ body: { display_name: 'สมชาย' } })],
    ['a sync', 'POST', () => '/user/sync/request', () => ({ body: { since_revision: 0, device_id: 'phone' } })],
    ['a check of achievements', 'POST', () => '/gamification/achievement/check', () => ({ body: {} })],
    ['progress derived again', 'POST', () => '/gamification/challenges/progress', () => ({})],
    ['a migration', 'POST', () => '/user/migrate-local', () => ({ body: { local_storage: { wasteEntries: JSON.stringify([{ id: uuid(), categoryId: 'food_waste', disposal: 'composted', weight: 1, timestamp: '2025-05-01T00:00:00Z' }]) } } })],
  ]) {
    test(`${name} is done once`, async () => {
      const other = await signInAnonymously()
      const made = ok(await other.api('POST', '/waste/entries', { body: entry() }), 201)
      const [key, path, what] = [uuid(), route(made.id), options()]
      const first = await send(other, method, path, key, what)
      const revision = ok(await other.api('GET', '/user/sync/status')).revision
      const again = await send(other, method, path, key, what)
      assert.deepEqual(ok(again), ok(first))
      assert.deepEqual([replayed(first), replayed(again)], [false, true])
      assert.equal(ok(await other.api('GET', '/user/sync/status')).revision, revision)
      assert.deepEqual(await differences(other), [])
    })
  }

  test('a roll-back is replayed, where a second one would be 404', async () => {
    const other = await signInAnonymously()
    const dump = { waste_entries: [{ ...entry(), logged_at: '2025-05-01T00:00:00Z' }] }
    const { batch_id } = ok(await other.api('POST', '/user/migrate-local', { body: dump }))
    const key = uuid()
    const first = ok(await send(other, 'DELETE', `/user/migrate-local/${batch_id}`, key))
    assert.equal(first.removed_entries, 1)
    assert.deepEqual(ok(await send(other, 'DELETE', `/user/migrate-local/${batch_id}`, key)), first)
    refused(await other.api('DELETE', `/user/migrate-local/${batch_id}`), 404, 'NOT_FOUND')
  })

  test('a dry run and the real one are different requests', async () => {
    const other = await signInAnonymously()
    const [key, body] = [uuid(), { waste_entries: [] }]
    assert.equal(ok(await send(other, 'POST', '/user/migrate-local?dry_run=true', key, { body })).batch_id, null)
    refused(await send(other, 'POST', '/user/migrate-local', key, { body }), 409, 'CONFLICT')
  })
})

describe('simultaneous twins', () => {
  after(closeSql)

  test('one writes; the others are refused as already_running or get its answer', async () => {
    const someone = await signInAnonymously()
    for (let round = 0; round < 5; round++) {
      const key = uuid()
      const answers = await Promise.all(Array.from({ length: 8 }, () => untilDone(() => send(someone, 'POST', '/waste/entries', key, { body: entry() }))))
      assert.equal(new Set(answers.map(answer => ok(answer, 201).id)).size, 1)
      assert.equal(answers.filter(answer => !replayed(answer)).length, 1)
      assert.equal(await entriesOf(someone), round + 1)
    }
    assert.deepEqual(await differences(someone), [])
  })

  test('a twin does not wait for one that is still writing, and writes if that one failed', async () => {
    const someone = await signInAnonymously()
    const lock = `select pg_advisory_xact_lock(hashtextextended(concat_ws(' ', $1::uuid, $2::text, $3::text), 0))`
    const key = uuid()
    const holder = new pg.Client({ connectionString: env.DB_URL })
    await holder.connect()
    await holder.query('begin')
    await holder.query(lock, [someone.id, 'POST /api/v1/waste/entries', key])
    alreadyRunning(await send(someone, 'POST', '/waste/entries', key, { body: entry() }))
    const byRpc = await supabase(someone).rpc('run_once', { idempotency_key: key, request_scope: 'POST /api/v1/waste/entries',
      request_fingerprint: 'a'.repeat(64), operation: 'create_waste_entry', arguments: { entry: entry() } })
    assert.deepEqual([byRpc.status, byRpc.error.code, byRpc.error.details], [429, 'PT429', 'carbon.already_running'])
    await holder.query('rollback')
    await holder.end()
    const late = await send(someone, 'POST', '/waste/entries', key, { body: entry() })
    assert.equal(replayed(late), false)
    ok(late, 201)
  })
})

describe('a key', () => {
  let one, two
  before(async () => { [one, two] = await Promise.all([signInAnonymously(), signInAnonymously()]) })
  after(closeSql)

  test('is scoped to its user, method and path', async () => {
    const key = uuid()
    const first = ok(await send(one, 'POST', '/waste/entries', key, { body: entry() }), 201)
    const other = ok(await send(two, 'POST', '/waste/entries', key, { body: entry() }), 201)
    assert.notEqual(first.id, other.id)
    ok(await send(one, 'PUT', `/waste/entries/${first.id}`, key, { body: { weight_kg: 3 } }))
    ok(await send(one, 'DELETE', `/waste/entries/${first.id}`, key))
    assert.equal(await entriesOf(two), 1)
  })

  test('is 1 to 255 visible ASCII characters', async () => {
    for (const key of ['a b', 'k'.repeat(256), '\u00e9']) {
      invalidField(await send(one, 'POST', '/waste/entries', key, { body: entry() }), 'Idempotency-Key')
    }
    ok(await send(one, 'POST', '/waste/entries', '!'.repeat(255), { body: entry() }), 201)
  })

  test('is not used up by a refusal', async () => {
    const key = uuid()
    invalidField(await send(one, 'POST', '/waste/entries', key, { body: entry({ weight_kg: 0 }) }), 'weight_kg')
    ok(await send(one, 'POST', '/waste/entries', key, { body: entry() }), 201)
    const missing = `/waste/entries/${uuid()}`
    refused(await send(one, 'DELETE', missing, key), 404, 'NOT_FOUND')
    assert.equal(replayed(await send(one, 'DELETE', missing, key)), false)
    const made = ok(await one.api('POST', '/waste/entries', { body: entry() }), 201)
    const stale = { body: { weight_kg: 2, expected_revision: made.revision + 9 } }
    for (let time = 0; time < 2; time++) {
      const error = refused(await send(one, 'PUT', `/waste/entries/${made.id}`, 'stale', stale), 409, 'CONFLICT')
      assert.equal(error.details.entry.id, made.id)
    }
  })

  test('is for signed-in users: without a token nothing is replayed', async () => {
    const key = uuid()
    ok(await send(one, 'POST', '/waste/entries', key, { body: entry() }), 201)
    refused(await api('POST', '/waste/entries', { body: entry(), headers: { 'idempotency-key': key } }), 401, 'AUTH_REQUIRED')
    refused(await api('POST', '/waste/entries', { token: `${one.token}x`, body: entry(), headers: { 'idempotency-key': key } }), 401, 'AUTH_INVALID')
  })

  test('sign-in ignores it', async () => {
    const request = () => api('POST', '/auth/anonymous', { body: {}, headers: { 'idempotency-key': 'same' } })
    const [first, again] = [ok(await request()), ok(await request())]
    assert.notEqual(first.user.id, again.user.id)
  })

  test('expires after a day', async () => {
    const key = uuid()
    const first = ok(await send(one, 'POST', '/waste/entries', key, { body: entry() }), 201)
    await sql(`update private.idempotency_keys set created_at = now() - interval '24 hours' where user_id = $1 and key = $2`, [one.id, key])
    assert.notEqual(ok(await send(one, 'POST', '/waste/entries', key, { body: entry({ weight_kg: 1 }) }), 201).id, first.id)
  })

  test('is deleted with its user', async () => {
    const gone = await signInAnonymously()
    ok(await send(gone, 'POST', '/waste/entries', 'k', { body: entry() }), 201)
    await sql('delete from auth.users where id = $1', [gone.id])
    assert.deepEqual(await sql('select key from private.idempotency_keys where user_id = $1', [gone.id]), [])
  })

  test('works by rpc as well, for one\'s own writes only', async () => {
    const arguments_ = { idempotency_key: uuid(), request_scope: 'app', request_fingerprint: 'ab'.repeat(32), operation: 'create_waste_entry', arguments: { entry: entry() } }
    const first = await supabase(two).rpc('run_once', arguments_)
    const again = await supabase(two).rpc('run_once', arguments_)
    assert.deepEqual([first.data.replayed, again.data.replayed], [false, true])
    assert.deepEqual(again.data.answer, first.data.answer)
    assert.equal((await supabase(one).rpc('run_once', arguments_)).data.replayed, false)
    assert.equal((await supabase().rpc('run_once', arguments_)).error.code, '42501')
  })
})

test('a migration of 10 MiB works with a key, and is replayed', async () => {
  const someone = await signInAnonymously()
  const entries = Array.from({ length: 8000 }, (_, i) => ({ id: `${i}`, categoryId: 'food_waste', disposal: 'composted', weight: 1, timestamp: new Date(1_740_000_000_000 + i * 60_000).toISOString(), notes: '"' }))
  const dump = { local_storage: { wasteEntries: JSON.stringify(entries), padding: '' } }
  // Each "\\" has two bytes here, and four on the way to the database.
  const room = 10 * 1024 * 1024 - Buffer.byteLength(JSON.stringify(dump))
  dump.local_storage.padding = '\\'.repeat(Math.floor(room / 2) - 10)
  const raw = JSON.stringify(dump)
  assert.ok(Buffer.byteLength(raw) <= 10 * 1024 * 1024 && Buffer.byteLength(raw) > 9 * 1024 * 1024, `${Buffer.byteLength(raw)}`)
  const key = uuid()
  const first = ok(await send(someone, 'POST', '/user/migrate-local', key, { raw }))
  assert.equal(first.migrated_entries, 8000)
  const again = await send(someone, 'POST', '/user/migrate-local', key, { raw })
  assert.deepEqual(ok(again), first)
  assert.ok(replayed(again))
  await closeSql()
})
