// Waste entries over the edge: create, batch, list, search, pages, update, delete, exact weights.
import { before, after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { bangkokDay, bangkokInstant, closeSql, differences, invalidField, ok, refused, rows, signInAnonymously, sql, supabase, uuid } from './lib.mjs'
import { assertEntryFigures, figuresOf } from './figures.mjs'

const body = (more = {}) => ({ category_id: 'metal_cans', disposal_method: 'recycled', weight_kg: 0.5, ...more })
const create = async (someone, more = {}) => ok(await someone.api('POST', '/waste/entries', { body: body(more) }), 201)

describe('creating an entry', () => {
  let someone
  before(async () => { someone = await signInAnonymously() })
  after(closeSql)

  test('answers everything that was sent and everything that was computed from it', async () => {
    const stated = { location: { latitude: 13.7563, longitude: 100.5018 }, notes: 'กระป๋อง ๓ ใบ 🥫', place: 'ตลาดคลองเตย', device_id: 'phone-1', offline_id: uuid(), logged_at: bangkokInstant(-1) }
    const entry = await create(someone, stated)
    assert.match(entry.id, /^[0-9a-f-]{36}$/)
    for (const name of ['notes', 'place', 'device_id', 'offline_id']) assert.equal(entry[name], stated[name], name)
    assert.deepEqual(entry.location, stated.location)
    assert.equal(Date.parse(entry.logged_at), Date.parse(stated.logged_at))
    assert.equal(entry.local_date, bangkokDay(-1))
    assert.equal(entry.factor_set, 'tgo-app-2024')
    assert.match(entry.category_name, /[\u0E00-\u0E7F]/)
    assert.ok(entry.category_icon.length > 0)
    assert.equal(typeof entry.revision, 'number')
    for (const name of ['achievements_unlocked', 'challenges_completed', 'level_up', 'streak', 'created_at', 'updated_at']) assert.ok(name in entry, name)
    assertEntryFigures(entry)
    const shown = ok(await someone.api('GET', `/waste/entries/${entry.id}`, { lang: 'en' }))
    assert.equal(shown.category_name, 'Metal Cans')
    for (const name of ['id', 'carbon_credits', 'co2e_kg', 'revision', 'local_date', 'notes']) assert.equal(shown[name], entry[name], name)
  })

  test('credits that a client sends are ignored', async () => {
    const entry = await create(someone, { carbon_credits: 1000, user_id: uuid(), local_date: '2020-01-01', co2e_kg: -9, factor_set: 'mine', id: uuid() })
    assertEntryFigures(entry)
    assert.equal(entry.factor_set, 'tgo-app-2024')
    assert.equal(entry.local_date, bangkokDay())
  })

  test('the same offline_id again is 200, marked as a duplicate, with the first entry', async () => {
    const offline_id = `queue-${uuid()}`
    const first = await create(someone, { offline_id })
    const again = ok(await someone.api('POST', '/waste/entries', { body: body({ offline_id, weight_kg: 9, category_id: 'glass_bottles' }) }))
    assert.equal(again.duplicate, true)
    assert.deepEqual([again.id, again.weight_kg, again.category_id], [first.id, 0.5, 'metal_cans'])
    ok(await someone.api('DELETE', `/waste/entries/${first.id}`))
    const gone = ok(await someone.api('POST', '/waste/entries', { body: body({ offline_id }) }))
    assert.deepEqual([gone.duplicate, gone.deleted, gone.id], [true, true, first.id])
    refused(await someone.api('GET', `/waste/entries/${first.id}`), 404, 'NOT_FOUND')
  })

  test('two people may use the same offline_id', async () => {
    const other = await signInAnonymously()
    const offline_id = uuid()
    await create(someone, { offline_id })
    await create(other, { offline_id })
  })

  test('equal entries without offline_id are all stored', async () => {
    const other = await signInAnonymously()
    const same = { logged_at: bangkokInstant(-1) }
    const [one, two] = [await create(other, same), await create(other, same)]
    assert.notEqual(one.id, two.id)
    assert.equal(ok(await other.api('GET', '/user/sync/status')).entries, 2)
  })

  // The text of the weight and what is stored, in kilograms; null means refused.
  for (const [text, stored] of [['0.615', 0.615], ['0.1', 0.1], ['0.0095', 0.01], ['0.00949', null], ['0.01', 0.01], ['100', 100], ['100.0004', 100], ['100.0005', null],
    ['1.0005', 1.001], ['2.00049999999999999999999999', 2], ['5e-1', 0.5], ['1E2', 100], ['1e400', null], ['-0.5', null], ['0', null], ['-0', null],
    ['0.30000000000000004', 0.3], ['1.2344999999999999999999', 1.234], ['1.2345', 1.235], ['"0.1"', null], ['null', null], ['[1]', null], ['true', null]]) {
    test(`a weight written ${text} is ${stored === null ? 'refused' : `stored as ${stored}`}`, async () => {
      const other = await signInAnonymously()
      for (const [category, method] of [['metal_cans', 'recycled'], ['plastic_bags', 'disposed']]) {
        const answer = await other.api('POST', '/waste/entries', { raw: `{"category_id":"${category}","disposal_method":"${method}","weight_kg":${text}}` })
        if (stored === null) { invalidField(answer, 'weight_kg'); continue }
        const entry = ok(answer, 201)
        assert.equal(entry.weight_kg, stored)
        assert.equal(BigInt(entry.carbon_credits), figuresOf(category, method, text).credits)
        assertEntryFigures(entry)
      }
    })
  }

  for (const [field, more] of [['category_id', { category_id: 'gold' }], ['category_id', { category_id: undefined }], ['category_id', { category_id: 7 }],
    ['disposal_method', { disposal_method: 'composted' }], ['disposal_method', { disposal_method: null }], ['weight_kg', { weight_kg: undefined }],
    ['logged_at', { logged_at: 'yesterday' }], ['logged_at', { logged_at: '2025-02-30T00:00:00Z' }], ['logged_at', { logged_at: '2025-06-01T10:00:00' }], ['logged_at', { logged_at: 1750000000 }],
    ['logged_at', { logged_at: '2012-01-01T00:00:00Z' }], ['notes', { notes: 'ก'.repeat(501) }], ['notes', { notes: 5 }], ['location', { location: { latitude: 90.1, longitude: 0 } }],
    ['location', { location: { latitude: 0, longitude: -180.1 } }], ['location', { location: { latitude: 1 } }], ['location', { location: 'บ้าน' }], ['image_id', { image_id: 'x' }]]) {
    test(`${JSON.stringify(more).slice(0, 60)} is refused naming ${field}`, async () => {
      const error = refused(await someone.api('POST', '/waste/entries', { body: body(more) }), 400, 'VALIDATION_ERROR')
      assert.ok(error.details.fields.some(one => one.field === field || one.field.startsWith(`${field}.`)), JSON.stringify(error.details))
    })
  }

  test('a time in the future is refused by its own code, with five minutes of tolerance', async () => {
    const ahead = minutes => new Date(Date.now() + minutes * 60_000).toISOString()
    const detail = invalidField(await someone.api('POST', '/waste/entries', { body: body({ logged_at: ahead(6) }) }), 'logged_at')
    assert.equal(detail.code, 'logged_at_in_future')
    await create(someone, { logged_at: ahead(4) })
  })

  test('500 letters of any kind are accepted as notes, however many bytes they have', async () => {
    const notes = '🌿'.repeat(500)
    assert.equal((await create(someone, { notes })).notes, notes)
    invalidField(await someone.api('POST', '/waste/entries', { body: body({ notes: `${notes}.` }) }), 'notes')
  })

  test('an entry belongs to the day of its own time zone, and later changes of the preference do not move it', async () => {
    const other = await signInAnonymously()
    const july = `${new Date().getUTCFullYear() - 1}-07`
    ok(await other.api('PUT', '/user/profile', { body: { time_zone: 'Pacific/Auckland' } }))
    const entry = await create(other, { logged_at: `${july}-01T13:00:00Z` })
    assert.equal(entry.local_date, `${july}-02`)
    ok(await other.api('PUT', '/user/profile', { body: { time_zone: 'America/Los_Angeles' } }))
    assert.equal(ok(await other.api('GET', `/waste/entries/${entry.id}`)).local_date, `${july}-02`)
    assert.equal(ok(await other.api('PUT', `/waste/entries/${entry.id}`, { body: { logged_at: `${july}-01T11:00:00Z` } })).local_date, `${july}-01`)
    assert.equal((await create(other, { logged_at: `${july}-01T05:00:00Z` })).local_date, `${july.replace('-07', '-06')}-30`)
    assert.deepEqual(await differences(other), [])
  })
})

describe('a batch', () => {
  after(closeSql)

  test('of valid, invalid and repeated entries stores the valid ones', async () => {
    const someone = await signInAnonymously()
    const existing = uuid(), fresh = uuid()
    const first = await create(someone, { offline_id: existing })
    const data = ok(await someone.api('POST', '/waste/entries/batch', { body: { entries: [
      body({ offline_id: fresh, weight_kg: 2 }), body({ offline_id: existing }), body({ offline_id: fresh }), body({ weight_kg: -1, offline_id: 'bad' }), body(), null, 7, body({ category_id: 'gold' }),
    ] } }))
    assert.deepEqual([data.processed, data.created, data.duplicates, data.errors], [8, 2, 2, 4])
    assert.deepEqual(data.entries.map(one => one.status), ['created', 'duplicate', 'duplicate', 'error', 'created', 'error', 'error', 'error'])
    assert.equal(data.entries[1].id, first.id)
    assert.equal(data.entries[2].id, data.entries[0].id)
    assert.equal(data.entries[3].offline_id, 'bad')
    assert.ok(data.entries[3].error)
    assert.equal(data.total_credits_earned, 60 + 15)
    assert.deepEqual(await differences(someone), [])
  })

  test('of 500 is accepted, of 501 refused, of none answered', async () => {
    const someone = await signInAnonymously()
    const entries = Array.from({ length: 501 }, (_, index) => body({ weight_kg: (index + 10) / 1000, logged_at: bangkokInstant(-(index % 60) - 1) }))
    refused(await someone.api('POST', '/waste/entries/batch', { body: { entries } }), 400, 'VALIDATION_ERROR')
    const data = ok(await someone.api('POST', '/waste/entries/batch', { body: { entries: entries.slice(1) } }))
    assert.deepEqual([data.processed, data.created, data.errors], [500, 500, 0])
    for (const wrong of [{}, { entries: 'x' }, { entries: {} }]) invalidField(await someone.api('POST', '/waste/entries/batch', { body: wrong }), 'entries')
    const [{ revisions, newest }] = await sql('select count(distinct revision) as revisions, max(revision) as newest from private.entry_keys where user_id = $1', [someone.id])
    assert.deepEqual([revisions, newest], ['500', '500'])
    assert.deepEqual(await differences(someone), [])
  })
})

describe('the list', () => {
  let someone, all
  before(async () => {
    someone = await signInAnonymously()
    const entries = Array.from({ length: 47 }, (_, index) => body({
      category_id: index % 2 ? 'metal_cans' : 'glass_bottles', disposal_method: index % 3 ? 'recycled' : 'disposed',
      logged_at: index < 10 ? bangkokInstant(-5) : bangkokInstant(-index * 9), weight_kg: 0.1 + index / 100,
      notes: index % 5 ? null : `ตลาด 100%_สด ${index}`, place: index === 7 ? 'Big C Rama IV' : null,
    }))
    ok(await someone.api('POST', '/waste/entries/batch', { body: { entries } }))
    all = ok(await someone.api('GET', '/waste/entries?page=1&limit=100')).entries
  })
  const list = async query => someone.api('GET', `/waste/entries?${query}`)
  const found = async query => ok(await list(`limit=100&${query}`)).entries.map(one => one.id)
  const those = matches => all.filter(matches).map(one => one.id)

  test('is ordered by time then id, newest first, and pages state the total', async () => {
    const sorted = [...all].sort((a, b) => Date.parse(b.logged_at) - Date.parse(a.logged_at) || (a.id < b.id ? 1 : -1))
    assert.deepEqual(all.map(one => one.id), sorted.map(one => one.id))
    const answer = await list('page=3&limit=20')
    assert.deepEqual(ok(answer).entries.map(one => one.id), all.slice(40).map(one => one.id))
    assert.deepEqual([answer.meta.page, answer.meta.limit, answer.meta.total, answer.meta.total_pages], [3, 20, 47, 3])
    assert.deepEqual(ok(await list('page=9&limit=20')).entries, [])
  })

  test('follows its cursor to the end without a gap or a repeat, even while entries are added', async () => {
    const seen = []
    let cursor = '', pages = 0
    do {
      const answer = await list(`limit=7${cursor && `&cursor=${encodeURIComponent(cursor)}`}`)
      seen.push(...ok(answer).entries.map(one => one.id))
      assert.equal(answer.meta.total ?? null, null)
      cursor = answer.meta.next_cursor
      if (pages++ === 2) await create(someone, { notes: 'newer than every page' })
    } while (cursor)
    assert.deepEqual(seen, all.map(one => one.id))
    assert.equal(pages, 7)
    const [newest] = ok(await list('limit=1')).entries
    ok(await someone.api('DELETE', `/waste/entries/${newest.id}`))
  })

  test('without parameters shows twenty', async () => {
    assert.equal(ok(await list('')).entries.length, 20)
  })

  test('filters by day, category, method and words, and by all together', async () => {
    assert.deepEqual(await found('category_id=metal_cans'), those(one => one.category_id === 'metal_cans'))
    assert.deepEqual(await found('disposal_method=disposed'), those(one => one.disposal_method === 'disposed'))
    assert.deepEqual(await found(`date_from=${bangkokDay(-5)}&date_to=${bangkokDay(-5)}`), those(one => one.local_date === bangkokDay(-5)))
    assert.deepEqual(await found(`date_to=${bangkokDay(-200)}`), those(one => one.local_date <= bangkokDay(-200)))
    assert.deepEqual(await found(`q=${encodeURIComponent('100%_สด')}`), those(one => one.notes?.includes('100%_สด')))
    assert.deepEqual(await found('q=BIG%20c'), those(one => one.place === 'Big C Rama IV'))
    assert.deepEqual(await found(`q=${encodeURIComponent('1%0')}`), [])
    assert.deepEqual(await found(`q=${encodeURIComponent('_')}`), those(one => one.notes?.includes('_')))
    assert.deepEqual(await found(`category_id=glass_bottles&disposal_method=recycled&date_from=${bangkokDay(-90)}&q=${encodeURIComponent('ตลาด')}`),
      those(one => one.category_id === 'glass_bottles' && one.disposal_method === 'recycled' && one.local_date >= bangkokDay(-90) && one.notes?.includes('ตลาด')))
  })

  test('finds Thai and Latin words regardless of the order of their marks, by the edge and by rpc', async () => {
    const reader = await signInAnonymously()
    const written = { water: ['ขวดน้ำ', 'ขวดน\u0e33\u0e49', 'ขวดน\u0e4d\u0e49\u0e32', 'ขวด\u200bน\u0e49\u0e4d\u0e32'], cafe: ['Café', 'CAFE\u0301'], jar: ['แก้ว', 'เเก้ว'] }
    const ids = {}
    for (const [word, writings] of Object.entries(written)) {
      ids[word] = []
      for (const notes of writings) ids[word].push((await create(reader, { notes })).id)
    }
    for (const [word, writings] of Object.entries(written)) {
      for (const q of [...writings, ...writings.map(text => text.normalize('NFC')), ...writings.map(text => text.normalize('NFD')), `${writings[0]}\u200b`]) {
        const byEdge = ok(await reader.api('GET', `/waste/entries?limit=100&q=${encodeURIComponent(q)}`)).entries.map(one => one.id)
        const byRpc = rows(await supabase(reader).rpc('list_waste_entries', { q, page_size: 100 })).entries.map(one => one.id)
        assert.deepEqual(byEdge.sort(), [...ids[word]].sort(), JSON.stringify(q))
        assert.deepEqual(byRpc.sort(), byEdge, JSON.stringify(q))
      }
    }
  })

  for (const [query, field] of [['limit=101', 'limit'], ['limit=0', 'limit'], ['limit=x', 'limit'], ['page=0', 'page'], ['page=-1', 'page'], ['cursor=nonsense', 'cursor'],
    ['date_from=2025-13-01', 'date_from'], ['date_to=yesterday', 'date_to'], ['category_id=gold', 'category_id'], ['disposal_method=burned', 'disposal_method']]) {
    test(`?${query} is refused naming ${field}`, async () => { invalidField(await list(query), field) })
  }

  test('shows one\'s own entries only', async () => {
    const other = await signInAnonymously()
    assert.deepEqual(ok(await other.api('GET', '/waste/entries?page=1')).entries, [])
    for (const method of ['GET', 'DELETE', 'PUT']) refused(await other.api(method, `/waste/entries/${all[0].id}`, method === 'PUT' ? { body: { weight_kg: 1 } } : {}), 404, 'NOT_FOUND')
  })
})

describe('changing and deleting', () => {
  let someone
  before(async () => { someone = await signInAnonymously() })
  after(closeSql)
  const put = (id, changes) => someone.api('PUT', `/waste/entries/${id}`, { body: changes })

  test('an update changes each field that is sent, null clears it, and missing fields stay', async () => {
    const entry = await create(someone, { notes: 'a', place: 'b', location: { latitude: 1, longitude: 2 } })
    const changed = ok(await put(entry.id, { category_id: 'food_waste', disposal_method: 'composted', weight_kg: 3.25, logged_at: bangkokInstant(-45), notes: null, location: null }))
    assert.deepEqual([changed.category_id, changed.disposal_method, changed.weight_kg, changed.notes, changed.place, changed.location], ['food_waste', 'composted', 3.25, null, 'b', null])
    assert.equal(changed.local_date, bangkokDay(-45))
    assert.ok(changed.revision > entry.revision)
    assertEntryFigures(changed)
    assert.deepEqual(await differences(someone), [])
  })

  test('a category and a method that do not go together are refused, even when only one of them is sent', async () => {
    const entry = await create(someone)
    invalidField(await put(entry.id, { category_id: 'food_waste' }), 'disposal_method')
    invalidField(await put(entry.id, { disposal_method: 'composted' }), 'disposal_method')
    invalidField(await put(entry.id, { weight_kg: null }), 'weight_kg')
    assert.equal(ok(await someone.api('GET', `/waste/entries/${entry.id}`)).revision, entry.revision)
  })

  for (const field of ['offline_id', 'device_id']) {
    test(`${field} stays as it was created`, async () => {
      const entry = await create(someone, { [field]: `first-${uuid()}` })
      const answer = await put(entry.id, { [field]: 'other', weight_kg: 2 })
      if (answer.status !== 200) invalidField(answer, field)
      assert.equal(ok(await someone.api('GET', `/waste/entries/${entry.id}`))[field], entry[field])
    })
  }

  test('an outdated expected revision is a conflict and shows the present entry', async () => {
    const entry = await create(someone)
    const changed = ok(await put(entry.id, { weight_kg: 1, expected_revision: entry.revision }))
    const error = refused(await put(entry.id, { weight_kg: 2, expected_revision: entry.revision }), 409, 'CONFLICT')
    assert.deepEqual([error.details.entry.revision, error.details.entry.weight_kg], [changed.revision, 1])
  })

  test('of two simultaneous updates that expect the same revision one succeeds', async () => {
    const entry = await create(someone)
    const answers = await Promise.all([1, 2, 3].map(weight_kg => put(entry.id, { weight_kg, expected_revision: entry.revision })))
    assert.deepEqual(answers.map(one => one.status).sort(), [200, 409, 409])
  })

  test('a deletion answers its revision, and a second one is not found', async () => {
    const entry = await create(someone)
    const deleted = ok(await someone.api('DELETE', `/waste/entries/${entry.id}`))
    assert.deepEqual([deleted.id, deleted.deleted], [entry.id, true])
    assert.ok(deleted.revision > entry.revision)
    for (const method of ['DELETE', 'GET']) refused(await someone.api(method, `/waste/entries/${entry.id}`), 404, 'NOT_FOUND')
    refused(await put(entry.id, { weight_kg: 1 }), 404, 'NOT_FOUND')
    assert.deepEqual(await differences(someone), [])
  })

  test('a list that ends before the first entry is empty, and answers at once', async () => {
    await create(someone)
    for (const query of ['date_to=2000-01-01', 'date_from=2000-01-01&date_to=2000-01-01&q=x', 'date_to=2000-01-01&page=1']) {
      assert.deepEqual(ok(await someone.api('GET', `/waste/entries?${query}`)).entries, [], query)
    }
  })

  test('an entry that cannot be stored fails only its own line of a batch', async () => {
    const bad = ['"notes":"a\\u0000"', '"weight_kg":1e999999', '"location":{"latitude":1e999999,"longitude":1}', '"x":{"\\u0000":1e999999}']
    const lines = bad.map(more => JSON.stringify(body()).replace('}', `,${more}}`))
    const answer = ok(await someone.api('POST', '/waste/entries/batch', { raw: `{"entries":[${lines.join()},"\\u0000"]}` }))
    assert.deepEqual(answer.entries.map(line => line.error?.code ?? line.status),
      ['notes_invalid', 'weight_out_of_range', 'latitude_out_of_range', 'created', 'not_an_object'])
  })

  test('the path of another endpoint is never read as an entry\'s id', async () => {
    const answer = await someone.api('GET', '/waste/entries/batch')
    refused(answer, 405, 'METHOD_NOT_ALLOWED')
    assert.equal(answer.headers.get('allow'), 'POST, OPTIONS')
  })

  test('an invalid id is not found, or refused by name', async () => {
    const answer = await someone.api('GET', '/waste/entries/not-an-id')
    assert.ok([400, 404].includes(answer.status), answer.text)
  })
})
