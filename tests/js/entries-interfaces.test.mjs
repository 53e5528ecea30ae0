// Entries through every interface (edge, rpc, REST, migration): what real phones and keyboards send has the same answer
// everywhere, and an invalid part of a call never fails the rest of it.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { ROOT, bangkokInstant, closeSql, differences, env, invalidField, ok, rows, signInAnonymously, sql, supabase, uuid } from './lib.mjs'

const entry = (more = {}) => ({ category_id: 'food_waste', disposal_method: 'composted', weight_kg: 1.25, ...more })
const cut = '🍾🍾'.slice(0, 3)
const deep = levels => JSON.parse(`${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`)

let someone, client
before(async () => {
  someone = await signInAnonymously()
  client = supabase(someone)
})
after(closeSql)

/** A raw call to /rest/v1, without a client library. */
async function rest(method, target, body, headers = {}) {
  const response = await fetch(`${env.SUPABASE_URL}/rest/v1/${target}`, {
    method, body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { apikey: env.ANON_KEY, authorization: `Bearer ${someone.token}`, 'content-type': 'application/json', ...headers },
  })
  const text = await response.text()
  return { status: response.status, text, json: text ? JSON.parse(text) : undefined }
}
const insert = (row, headers = {}) => rest('POST', 'waste_entries', row, { prefer: 'return=representation', ...headers })
/** Asserts that REST refused with the token. */
function refusedWith(answer, token, what) {
  assert.equal(answer.status, 400, `${what}: ${answer.text}`)
  assert.equal(answer.json.details, token, `${what}: ${answer.text}`)
}

/** The interfaces that take a batch; each returns the batch's answer. */
const BATCHES = {
  edge: async entries => ok(await someone.api('POST', '/waste/entries/batch', { body: { entries } })),
  'edge, done once': async entries => ok(await someone.api('POST', '/waste/entries/batch', { body: { entries }, headers: { 'idempotency-key': uuid() } })),
  rpc: async entries => rows(await client.rpc('create_waste_entries', { entries })),
}

describe('an invalid part fails only itself', () => {
  for (const [via, send] of Object.entries(BATCHES)) {
    test(`a batch stores its valid entries regardless of the others, by ${via}`, async () => {
      const good = () => entry({ offline_id: uuid() })
      const answer = await send([
        good(), entry({ notes: cut, offline_id: 'cut' }), entry({ place: 'a\0b', offline_id: 'nul' }), good(),
        { ...good(), categoryName: cut, meta: deep(33) }, entry({ notes: deep(200), offline_id: 'deep' }), { ...good(), meta: deep(300) },
        entry({ offline_id: `x${cut}` }), 'an entry',
      ])
      assert.deepEqual(answer.entries.map(line => line.error ? `${line.error.field} ${line.error.code}` : line.status), [
        'created', 'notes notes_invalid', 'place place_invalid', 'created', 'created', 'notes notes_invalid', 'created',
        'offline_id offline_id_invalid', ' not_an_object',
      ])
      assert.deepEqual(answer.entries.map(line => line.offline_id).filter(id => ['cut', 'nul', 'deep'].includes(id)), ['cut', 'nul', 'deep'])
      assert.deepEqual([answer.created, answer.errors], [4, 5])
    })
  }

  test('a single entry with half an emoji or U+0000 names its field, by edge and rpc', async () => {
    for (const field of ['notes', 'place', 'device_id', 'offline_id']) {
      for (const bad of [cut, 'a\0', `${cut}b`]) {
        const code = `${field}_invalid`
        assert.equal(invalidField(await someone.api('POST', '/waste/entries', { body: entry({ [field]: bad }) }), field).code, code)
        const answer = await client.rpc('create_waste_entry', { entry: entry({ [field]: bad }) })
        assert.equal(answer.error?.details, `carbon.${code}`, JSON.stringify(answer))
      }
    }
    const created = ok(await someone.api('POST', '/waste/entries', { body: { ...entry(), categoryName: cut, meta: deep(200) } }), 201)
    assert.equal(created.weight_kg, 1.25)
    const changed = await someone.api('PUT', `/waste/entries/${created.id}`, { body: { ...created, notes: cut, meta: deep(200) } })
    assert.equal(invalidField(changed, 'notes').code, 'notes_invalid')
  })

  test('500 entries of full length are accepted in every JSON escaping, by edge and rpc', async () => {
    const full = () => entry({ offline_id: uuid(), notes: '🍾'.repeat(500), place: '🏠'.repeat(200) })
    const escaped = value => JSON.stringify(value).replace(/[^\x20-\x7e]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    const byEdge = escaped({ entries: Array.from({ length: 500 }, full) })
    assert.ok(Buffer.byteLength(byEdge) > 4 * 1024 * 1024)
    assert.equal(ok(await someone.api('POST', '/waste/entries/batch', { raw: byEdge })).created, 500)
    const byRpc = await rest('POST', 'rpc/create_waste_entries', escaped({ entries: Array.from({ length: 500 }, full) }))
    assert.equal(byRpc.json?.created, 500, byRpc.text.slice(0, 300))
    const tooLarge = await someone.api('POST', '/waste/entries/batch', { raw: `{"entries":[],"x":"${'x'.repeat(7 * 1024 * 1024)}"}` })
    assert.equal(tooLarge.status, 413)
    assert.match(tooLarge.error.message, /น้อยลง/)
  })

  test('an array by REST with taken offline_ids is refused entirely and names them all', async () => {
    const [a, b, c] = [uuid(), uuid(), uuid()].sort()
    assert.equal((await insert([entry({ offline_id: a }), entry({ offline_id: b })])).status, 201)
    const again = await insert([entry({ offline_id: b }), entry({ offline_id: c }), entry({ offline_id: a })])
    assert.deepEqual([again.status, again.json.code], [409, '23505'])
    assert.equal(again.json.details, `carbon.offline_id_known ${JSON.stringify([a, b])}`)
    assert.deepEqual(rows(await client.from('waste_entries').select('id').eq('offline_id', c)), [])
    const one = await insert(entry({ offline_id: a }))
    assert.deepEqual([one.status, one.json.code], [409, '23505'])
    assert.ok(one.json.details.includes(a))
  })
})

describe('the zone of an entry', () => {
  const day = offset => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10)
  /** The interfaces that take one entry; each returns the row's zone and day. */
  const CREATES = {
    edge: async sent => ok(await someone.api('POST', '/waste/entries', { body: sent }), 201),
    rpc: async sent => rows(await client.rpc('create_waste_entry', { entry: sent })),
    batch: async sent => {
      const answer = ok(await someone.api('POST', '/waste/entries/batch', { body: { entries: [sent] } }))
      return ok(await someone.api('GET', `/waste/entries/${answer.entries[0].id}`))
    },
    REST: async sent => (await insert(sent)).json[0],
    migration: async sent => {
      const offline_id = uuid()
      ok(await someone.api('POST', '/user/migrate-local', { body: { waste_entries: [{ ...sent, offline_id }] } }))
      return rows(await client.from('waste_entries').select().eq('offline_id', offline_id))[0]
    },
  }
  before(async () => { ok(await someone.api('PUT', '/user/profile', { body: { time_zone: 'America/Los_Angeles' } })) })

  for (const [via, create] of Object.entries(CREATES)) {
    test(`an entry is on the day of the zone where it was logged, by ${via}`, async () => {
      const logged = `${day(-4)}T06:30:00+07:00`
      const away = await create(entry({ logged_at: logged, time_zone: 'Asia/Saigon' }))
      assert.deepEqual([away.time_zone, away.local_date], ['Asia/Ho_Chi_Minh', day(-4)])
      const home = await create(entry({ logged_at: logged }))
      assert.deepEqual([home.time_zone, home.local_date], ['America/Los_Angeles', day(-5)])
    })
  }

  test('a zone that is not an IANA name of a place is refused by every interface', async () => {
    for (const zone of ['localtime', 'Factory', 'posix/Asia/Bangkok', 'right/Asia/Bangkok', 'ICT', 'EST', 'XYZ+5', '+07:00', 'asia/bangkok', 'Asia/Atlantis']) {
      const sent = entry({ time_zone: zone, logged_at: bangkokInstant(-1) })
      assert.equal(invalidField(await someone.api('POST', '/waste/entries', { body: sent }), 'time_zone').code, 'time_zone_invalid', zone)
      assert.equal((await client.rpc('create_waste_entry', { entry: sent })).error?.details, 'carbon.time_zone_invalid', zone)
      const [line] = ok(await someone.api('POST', '/waste/entries/batch', { body: { entries: [sent] } })).entries
      assert.deepEqual([line.error?.field, line.error?.code], ['time_zone', 'time_zone_invalid'], zone)
      refusedWith(await insert(sent), 'carbon.time_zone_invalid', zone)
      const migrated = ok(await someone.api('POST', '/user/migrate-local?dry_run=true', { body: { waste_entries: [{ ...sent, offline_id: uuid() }] } }))
      assert.equal(migrated.rejected[0]?.reason, 'time_zone_invalid', zone)
      assert.equal(invalidField(await someone.api('PUT', '/user/profile', { body: { time_zone: zone } }), 'time_zone').code, 'time_zone_invalid', zone)
      refusedWith(await rest('PATCH', `user_preferences?user_id=eq.${someone.id}`, { time_zone: zone }), 'carbon.time_zone_invalid', zone)
    }
  })

  test('a replaced zone name is stored as its present name, in preferences too', async () => {
    assert.equal(ok(await someone.api('PUT', '/user/profile', { body: { time_zone: 'Asia/Calcutta' } })).time_zone, 'Asia/Kolkata')
    const [row] = rows(await client.from('user_preferences').update({ time_zone: 'Asia/Rangoon' }).eq('user_id', someone.id).select('time_zone'))
    assert.equal(row.time_zone, 'Asia/Yangon')
  })

  test('an entry whose zone no longer exists is read, counted and restored', async () => {
    const tokyo = ok(await someone.api('POST', '/waste/entries', { body: entry({ time_zone: 'Asia/Tokyo' }) }), 201)
    await sql('update public.waste_entries set time_zone = $2 where id = $1', [tokyo.id, 'Mars/Base'])
    assert.equal(ok(await someone.api('GET', `/waste/entries/${tokyo.id}`)).time_zone, 'Mars/Base')
    ok(await someone.api('GET', '/waste/stats/daily'))
    assert.deepEqual(await differences(someone), [])

    const bin = name => path.join(ROOT, '.local/pgsql/lib/postgresql/15/bin', name)
    const [{ month }] = await sql('select tableoid::regclass::text as month from public.waste_entries where id = $1', [tokyo.id])
    const restored = `restored_${uuid().slice(0, 8)}`
    const there = new URL(env.DB_URL)
    there.pathname = `/${restored}`
    const run = (name, args, input) => execFileSync(bin(name), args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'], maxBuffer: 1 << 30 })
    await sql(`create database ${restored} template template0`)
    try {
      // Objects that only one database of a server can have fail here; the diary does not need them.
      run('psql', [there.href], run('pg_dump', [env.DB_URL, '--section=pre-data']))
      run('psql', [there.href, '-v', 'ON_ERROR_STOP=1'], run('pg_dump', [env.DB_URL, '--data-only', '--table', month]))
      const query = `select local_date || ' ' || time_zone from ${month} where id = '${tokyo.id}'`
      assert.equal(run('psql', [there.href, '-Atc', query]).trim(), run('psql', [env.DB_URL, '-Atc', query]).trim())
    } finally {
      await sql(`drop database ${restored} with (force)`)
    }
  })
})

describe('REST reads columns as the other interfaces read fields', () => {
  test('a time without a zone, in another notation or as a word is refused, regardless of Prefer', async () => {
    for (const logged_at of ['2026-11-05T08:30:00', '05/11/2026 08:30', '2026-11-05', 'now', 'infinity', 'yesterday', 1_700_000_000]) {
      refusedWith(await insert(entry({ logged_at })), 'carbon.logged_at_invalid', logged_at)
      refusedWith(await insert(entry({ logged_at }), { prefer: 'return=representation,timezone=America/Los_Angeles' }), 'carbon.logged_at_invalid', logged_at)
    }
    refusedWith(await insert(entry({ logged_at: `${new Date().getUTCFullYear() + 543}-01-01T00:00:00Z` })), 'carbon.logged_at_buddhist_era', 'Buddhist era')
    refusedWith(await insert(entry({ logged_at: null })), 'carbon.logged_at_required', 'null')
    const [row] = (await insert(entry({ logged_at: bangkokInstant(-1) }))).json
    refusedWith(await rest('PATCH', `waste_entries?id=eq.${row.id}`, { logged_at: '2026-11-05T08:30:00' }), 'carbon.logged_at_invalid', 'PATCH')
  })

  test('weights and degrees are numbers, texts are texts', async () => {
    for (const [row, token] of [
      [{ weight_kg: '1.5' }, 'weight_not_a_number'], [{ weight_kg: true }, 'weight_not_a_number'], [{ weight_kg: null }, 'weight_required'],
      [{ weight_kg: 0.001 }, 'weight_out_of_range'], [{ location_lat: '13', location_lng: 100 }, 'location_invalid'],
      [{ location_lat: 91, location_lng: 100 }, 'latitude_out_of_range'], [{ location_lat: 13, location_lng: 181 }, 'longitude_out_of_range'],
      [{ notes: 5 }, 'notes_invalid'], [{ notes: 'x'.repeat(501) }, 'notes_too_long'], [{ place: {} }, 'place_invalid'],
      [{ place: 'x'.repeat(201) }, 'place_too_long'], [{ image_id: 'x' }, 'image_id_invalid'], [{ device_id: '' }, 'device_id_invalid'],
      [{ offline_id: 17 }, 'offline_id_invalid'],
    ]) refusedWith(await insert(entry(row)), `carbon.${token}`, JSON.stringify(row))
  })

  test('a weight is stored with the digits it was sent with', async () => {
    const answer = await insert('{"category_id":"food_waste","disposal_method":"composted","weight_kg":0.30000000000000004}')
    assert.equal(answer.json[0].weight_kg, 0.3)
  })
})

describe('fields that do not change are not validated again', () => {
  test('an imported entry with long notes can be put back unchanged, by edge, rpc and REST', async () => {
    const diary = [{ id: '1', categoryId: 'plastic_bottles', disposal: 'recycled', weight: 0.5, timestamp: bangkokInstant(-2), notes: 'บันทึก'.repeat(200) }]
    ok(await someone.api('POST', '/user/migrate-local', { body: { local_storage: { wasteEntries: JSON.stringify(diary) } } }))
    const found = ok(await someone.api('GET', '/waste/entries?category_id=plastic_bottles')).entries.find(one => one.notes?.length === 1200)
    const byEdge = ok(await someone.api('PUT', `/waste/entries/${found.id}`, { body: { ...found, weight_kg: 0.75 } }))
    assert.deepEqual([byEdge.weight_kg, byEdge.notes], [0.75, found.notes])
    const byRpc = rows(await client.rpc('update_waste_entry', { entry_id: found.id, changes: { ...byEdge, weight_kg: 0.8 } }))
    assert.deepEqual([byRpc.weight_kg, byRpc.notes], [0.8, found.notes])
    const [byRest] = rows(await client.from('waste_entries').update({ weight_kg: 0.85, notes: found.notes }).eq('id', found.id).select())
    assert.deepEqual([byRest.weight_kg, byRest.notes], [0.85, found.notes])
    assert.equal(invalidField(await someone.api('PUT', `/waste/entries/${found.id}`, { body: { notes: `${found.notes}!` } }), 'notes').code, 'notes_too_long')
    refusedWith(await rest('PATCH', `waste_entries?id=eq.${found.id}`, { notes: `${found.notes}!` }), 'carbon.notes_too_long', 'REST')
  })
})

describe('dates', () => {
  const buddhist = new Date().getUTCFullYear() + 543
  const queries = {
    '/waste/stats/daily?date=': ['date', 'waste_stats_daily', 'day'],
    '/waste/entries?date_from=': ['date_from', 'list_waste_entries', 'date_from'],
    '/waste/entries?date_to=': ['date_to', 'list_waste_entries', 'date_to'],
    '/waste/stats/category?date_from=': ['date_from', 'waste_stats_by_category', 'date_from'],
    '/waste/stats/category?date_to=': ['date_to', 'waste_stats_by_category', 'date_to'],
  }
  for (const [route, [field, rpc, argument]] of Object.entries(queries)) {
    test(`an invalid date is refused with its field and the reason: ${route}`, async () => {
      for (const [date, code] of [
        ['0000-01-01', 'date_invalid'], ['2025-02-30', 'date_invalid'], ['now', 'date_invalid'], ['infinity', 'date_invalid'], ['05/11/2025', 'date_invalid'],
        [`${buddhist}-01-01`, 'date_buddhist_era'], ['9999-12-31', 'date_in_future'],
      ]) {
        assert.equal(invalidField(await someone.api('GET', route + encodeURIComponent(date)), field).code, code, date)
        const { error } = await client.rpc(rpc, { [argument]: date })
        assert.deepEqual([error?.code, error?.details], ['22023', `carbon.${code}`], date)
        assert.ok(error.message.startsWith(`${field}: `), error.message)
      }
    })
  }

  test('an invalid month is refused with its field', async () => {
    for (const [month, code] of [['0000-01', 'month_invalid'], ['2025-13', 'month_invalid'], [`${buddhist}-01`, 'date_buddhist_era'], ['9999-12', 'date_in_future']]) {
      assert.equal(invalidField(await someone.api('GET', `/waste/stats/monthly?month=${month}`), 'month').code, code, month)
      const { error } = await client.rpc('waste_stats_monthly', { month })
      assert.equal(error?.details, `carbon.${code}`, month)
      assert.ok(error.message.startsWith('month: '), error.message)
    }
  })

  test('a time in the Buddhist era is refused as such, by edge, rpc, batch and migration', async () => {
    const sent = entry({ logged_at: `${buddhist}-01-01T00:00:00Z`, offline_id: uuid() })
    assert.equal(invalidField(await someone.api('POST', '/waste/entries', { body: sent }), 'logged_at').code, 'logged_at_buddhist_era')
    assert.equal((await client.rpc('create_waste_entry', { entry: sent })).error?.details, 'carbon.logged_at_buddhist_era')
    assert.equal(ok(await someone.api('POST', '/waste/entries/batch', { body: { entries: [sent] } })).entries[0].error.code, 'logged_at_buddhist_era')
    const migrated = ok(await someone.api('POST', '/user/migrate-local?dry_run=true', { body: { waste_entries: [sent] } }))
    assert.equal(migrated.rejected[0].reason, 'logged_at_buddhist_era')
  })

  test('a payload whose only member is null is refused', async () => {
    for (const payload of [{ local_storage: null }, { waste_entries: null }, { local_storage: null, waste_entries: null }]) {
      assert.equal(invalidField(await someone.api('POST', '/user/migrate-local?dry_run=true', { body: payload }), 'payload').code, 'migration_unreadable')
    }
  })
})
