// The import of an old diary over HTTP: every key, identity, roll-back, and the equivalence of imported and API entries.
// Hostile and very large dumps are in migrate-hostile.test.mjs.
import { after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { bangkokInstant, closeSql, differences, ok, refused, signInAnonymously, sql, uuid } from './lib.mjs'
import { appEntry, counted, rawDump, realisticDiary } from './dumps.mjs'
import { summaryOf } from './figures.mjs'

/** Migrates, checks what must hold for every report, and returns the report. */
async function migrate(someone, body, query = '') {
  const report = ok(await someone.api('POST', `/user/migrate-local${query}`, { body }))
  assert.equal(report.received_entries, report.migrated_entries + report.duplicate_entries + report.rejected_entries, JSON.stringify(report).slice(0, 400))
  assert.ok(Array.isArray(report.rejected) && Array.isArray(report.adjusted) && Array.isArray(report.unreadable_keys))
  return report
}

const counts = report => [report.received_entries, report.migrated_entries, report.duplicate_entries, report.rejected_entries]
const live = async someone => ok(await someone.api('GET', '/waste/entries?page=1&limit=100')).entries
const at = (second, day = -3) => bangkokInstant(day, `10:00:${String(second).padStart(2, '0')}`)
const rollBack = (someone, batch) => someone.api('DELETE', `/user/migrate-local/${batch}`)
const totalOf = async someone => ok(await someone.api('GET', '/gamification/profile')).total_credits

describe('the raw dump', () => {
  after(closeSql)

  for (const key of ['wasteEntries', 'carbon-pixels-waste-entries', 'waste_entries_v2', 'recentWasteEntries', 'pending-sync']) {
    test(`entries that are only in ${key} are imported`, async () => {
      const someone = await signInAnonymously()
      const report = await migrate(someone, rawDump({ [key]: [appEntry(at(1)), appEntry(at(2), { weight: 2 })] }))
      assert.deepEqual(counts(report), [2, 2, 0, 0])
      const [entry] = await live(someone)
      assert.equal(entry.offline_id, null)
      assert.deepEqual(await differences(someone), [])
    })
  }

  test('the same entry in several keys counts once', async () => {
    const someone = await signInAnonymously()
    const entry = appEntry(at(1))
    const report = await migrate(someone, rawDump({
      wasteEntries: [entry], 'carbon-pixels-waste-entries': [entry], waste_entries_v2: [entry], recentWasteEntries: [entry], 'pending-sync': [entry, { type: 'entry', data: entry }],
    }))
    assert.deepEqual(counts(report), [6, 1, 5, 0])
  })

  test('a key that is broken is named and the others are imported', async () => {
    const someone = await signInAnonymously()
    const report = await migrate(someone, rawDump({
      wasteEntries: '[{"id":"1","cat', recentWasteEntries: [appEntry(at(1))], waste_entries_v2: 'not json', 'pending-sync': '', userPreferences: '{"theme":',
      carbonCredits: 'NaN', 'carbon-pixels-user-stats': '{{', unrelated: '<<<',
    }))
    assert.deepEqual(counts(report), [1, 1, 0, 0])
    const named = report.unreadable_keys.map(one => one.key)
    for (const key of ['wasteEntries', 'waste_entries_v2', 'userPreferences']) assert.ok(named.includes(key), `${key} in ${named}`)
    assert.ok(!named.includes('unrelated'))
    report.unreadable_keys.forEach(one => assert.ok(one.reason.length > 0))
  })

  for (const [claimed, expected] of [['1234', 1234], ['-7.5', -7.5], ['null', null], ['NaN', null], ['"12"', undefined], ['1e999', null]]) {
    test(`claimed credits ${claimed} are reported and never adopted`, async () => {
      const someone = await signInAnonymously()
      const report = await migrate(someone, rawDump({ carbonCredits: claimed, wasteEntries: [appEntry(at(1))] }))
      if (expected !== undefined) assert.equal(report.credits_claimed, expected)
      assert.equal(report.credits_imported, 8)
      assert.deepEqual(report.achievements_granted, ['first_scan'])
      assert.equal(await totalOf(someone), 8 + 10)
    })
  }

  test('old names of categories and methods are understood, methods of another category are not', async () => {
    const someone = await signInAnonymously()
    const good = [appEntry(at(1), { categoryId: 'paper', disposal: 'reused' }), appEntry(at(2), { categoryId: 'electronics', disposal: 'trade_in' }),
      appEntry(at(3), { categoryId: 'food_waste', disposal: 'animalFeed' })]
    const bad = [appEntry(at(4), { categoryId: 'paper', disposal: 'composted' }), appEntry(at(5), { categoryId: 'gold' }), appEntry(at(6), { disposal: undefined })]
    const report = await migrate(someone, rawDump({ wasteEntries: [...bad, ...good] }))
    assert.deepEqual(counts(report), [6, 3, 0, 3])
    assert.deepEqual(report.rejected.map(one => [one.key, one.index, one.reason]),
      [['wasteEntries', 0, 'unknown_method'], ['wasteEntries', 1, 'unknown_category'], ['wasteEntries', 2, 'method_required']])
    const entries = await live(someone)
    assert.deepEqual(entries.map(one => `${one.category_id}/${one.disposal_method}`), ['food_waste/animal_feed', 'electronic_waste/trade_in', 'paper_cardboard/reused'])
    assert.equal(BigInt(report.credits_imported), summaryOf(good.map(counted)).credits)
  })

  test('weights are rounded half up to grams first, then checked', async () => {
    const someone = await signInAnonymously()
    const weights = [0.1 + 0.2, 0.0095, 0.00949, 100.0004, 100.0005, 1.0005, 0, -1, 1e-7, 1e22]
    const report = await migrate(someone, rawDump({ wasteEntries: weights.map((weight, index) => appEntry(at(index), { weight })) }))
    assert.deepEqual(report.rejected.map(one => [one.index, one.reason]), [2, 4, 6, 7, 8, 9].map(index => [index, 'weight_out_of_range']))
    const storedWeights = (await live(someone)).map(one => one.weight_kg).sort((a, b) => a - b)
    assert.deepEqual(storedWeights, [0.01, 0.3, 1.001, 100])
  })

  test('rejections and adjustments name key, index, id and reason', async () => {
    const someone = await signInAnonymously()
    const report = await migrate(someone, rawDump({ waste_entries_v2: [
      appEntry(at(1), { id: 'bad', weight: 'heavy' }), appEntry(at(2), { id: 'long', notes: 'ก'.repeat(4100) }), appEntry(at(3), { id: 'nul', notes: 'a\u0000b' }),
      appEntry(at(4), { id: 'half', notes: 'x\ud800y' }), appEntry(at(5), { id: 'fine', notes: 'ข'.repeat(4000), location: 'ตลาดนัดจตุจักร' }),
    ] }))
    assert.deepEqual(counts(report), [5, 4, 0, 1])
    const [rejection] = report.rejected
    assert.deepEqual([rejection.key, rejection.index, rejection.id], ['waste_entries_v2', 0, 'bad'])
    assert.ok(rejection.reason.length > 0)
    assert.deepEqual(report.adjusted.map(one => [one.key, one.index, one.id]), [['waste_entries_v2', 1, 'long'], ['waste_entries_v2', 2, 'nul'], ['waste_entries_v2', 3, 'half']])
    report.adjusted.forEach(one => assert.ok(one.change.length > 0))
    const [fine, half, nul, long] = await live(someone)
    assert.equal(fine.place, 'ตลาดนัดจตุจักร')
    assert.equal(fine.notes.length, 4000)
    assert.deepEqual([half.notes, nul.notes, long.notes.length], ['x\ufffdy', 'ab', 4000])
  })

  test('valid preferences are imported when the user has not set them here, invalid ones never', async () => {
    const someone = await signInAnonymously()
    ok(await someone.api('PUT', '/user/profile', { body: { language: 'th' } }))
    await migrate(someone, rawDump({
      userPreferences: { language: 'en', theme: 'notebook', fontSize: 'huge' }, 'carbon-pixels-preferences': { dailyGoal: -5, language: 17 }, onboarding_completed: 'true',
    }))
    const profile = ok(await someone.api('GET', '/user/profile'))
    assert.deepEqual([profile.language, profile.theme], ['th', 'notebook'])
    assert.equal(profile.onboarding_completed, true)
    assert.equal(profile.daily_goal, 100)
  })
})

describe('identity', () => {
  after(closeSql)

  test('another category, method, weight or time under the same id is another entry', async () => {
    const someone = await signInAnonymously()
    const one = appEntry(at(1), { id: '1700000000000' })
    const others = [{ categoryId: 'glass_bottles' }, { disposal: 'reused' }, { weight: 0.6 }, { timestamp: at(2) }].map(change => ({ ...one, ...change }))
    const report = await migrate(someone, rawDump({ wasteEntries: [one, ...others, { ...one, notes: 'again', carbonCredits: 1, weight: 0.5000001 }] }))
    assert.deepEqual(counts(report), [6, 5, 1, 0])
  })

  test('an id as number and as text, and the same instant in another notation, are the same', async () => {
    const someone = await signInAnonymously()
    const one = appEntry(at(1), { id: '1700000000000' })
    const shifted = new Date(Date.parse(one.timestamp) + 7 * 3600_000).toISOString().replace('Z', '+07:00')
    const report = await migrate(someone, rawDump({ wasteEntries: [one, { ...one, id: 1700000000000 }, { ...one, timestamp: shifted }] }))
    assert.deepEqual(counts(report), [3, 1, 2, 0])
  })

  test('entries without an id are the same if their other four members agree, and differ from those with an id', async () => {
    const someone = await signInAnonymously()
    const bare = appEntry(at(1), { id: undefined })
    const dump = rawDump({ wasteEntries: [bare, bare, { ...bare, id: '' }, { ...bare, id: null }, { ...bare, weight: 0.7 }, { ...bare, id: 'named' }] })
    assert.deepEqual(counts(await migrate(someone, dump)), [6, 3, 3, 0])
    assert.deepEqual(counts(await migrate(someone, dump)), [6, 0, 6, 0])
  })

  test('two phones of one person import their own diaries, and what they share is stored once', async () => {
    const someone = await signInAnonymously()
    const shared = appEntry(at(1)), first = appEntry(at(2)), second = { ...appEntry(at(2)), categoryId: 'metal_cans' }
    await migrate(someone, rawDump({ wasteEntries: [shared, first] }, 'phone-1'))
    const report = await migrate(someone, rawDump({ wasteEntries: [shared, second] }, 'phone-2'))
    assert.deepEqual(counts(report), [2, 1, 1, 0])
  })

  test('two people with the same dump both have it', async () => {
    const dump = rawDump({ wasteEntries: [appEntry(at(1))] })
    for (let who = 0; who < 2; who++) assert.equal((await migrate(await signInAnonymously(), dump)).migrated_entries, 1)
  })

  test('an entry deleted by its owner is not brought back by another import', async () => {
    const someone = await signInAnonymously()
    const dump = rawDump({ wasteEntries: [appEntry(at(1)), appEntry(at(2))] })
    await migrate(someone, dump)
    const [entry, edited] = await live(someone)
    ok(await someone.api('DELETE', `/waste/entries/${entry.id}`))
    ok(await someone.api('PUT', `/waste/entries/${edited.id}`, { body: { weight_kg: 7, category_id: 'metal_cans', logged_at: bangkokInstant(-50) } }))
    assert.deepEqual(counts(await migrate(someone, dump)), [2, 0, 2, 0])
    assert.equal((await live(someone)).length, 1)
    assert.deepEqual(await differences(someone), [])
  })

  test('an API entry with the imported id as offline_id and the same other four members is that entry', async () => {
    const someone = await signInAnonymously()
    const old = appEntry(at(1), { id: 'legacy-1' })
    await migrate(someone, rawDump({ wasteEntries: [old] }))
    const same = { category_id: old.categoryId, disposal_method: old.disposal, weight_kg: old.weight, logged_at: old.timestamp, offline_id: 'legacy-1' }
    const answer = ok(await someone.api('POST', '/waste/entries', { body: same }))
    assert.equal(answer.duplicate, true)
    assert.equal(answer.id, (await live(someone))[0].id)
    const other = ok(await someone.api('POST', '/waste/entries', { body: { ...same, weight_kg: 0.8 } }), 201)
    assert.notEqual(other.id, answer.id)
  })

  test('a batch that names an imported entry twice answers that entry twice', async () => {
    const someone = await signInAnonymously()
    const old = appEntry(at(1), { id: 'legacy-3' })
    await migrate(someone, rawDump({ wasteEntries: [old] }))
    const [{ id }] = await live(someone)
    const same = { category_id: old.categoryId, disposal_method: old.disposal, weight_kg: old.weight, logged_at: old.timestamp, offline_id: 'legacy-3' }
    const { entries } = ok(await someone.api('POST', '/waste/entries/batch', { body: { entries: [same, { ...same, weight_kg: 0.8 }] } }))
    assert.deepEqual(entries.map(one => [one.status, one.id, one.carbon_credits]), [['duplicate', id, 8], ['duplicate', id, 8]])
  })

  test('a dump entry whose id was sent by the API as offline_id with the same other four members is that entry', async () => {
    const someone = await signInAnonymously()
    const old = appEntry(at(1), { id: 'legacy-2' })
    ok(await someone.api('POST', '/waste/entries', {
      body: { category_id: old.categoryId, disposal_method: old.disposal, weight_kg: old.weight, logged_at: old.timestamp, offline_id: 'legacy-2' },
    }), 201)
    assert.deepEqual(counts(await migrate(someone, rawDump({ wasteEntries: [old, { ...old, weight: 0.9 }] }))), [2, 1, 1, 0])
  })
})

describe('the normalised payload', () => {
  after(closeSql)
  const entry = (more = {}) => ({ category_id: 'metal_cans', disposal_method: 'sold', weight_kg: 1.5, logged_at: at(1), ...more })

  test('entries in the API\'s form are imported, with offline_id as their identity', async () => {
    const someone = await signInAnonymously()
    const offline_id = uuid()
    ok(await someone.api('POST', '/waste/entries', { body: entry({ offline_id }) }), 201)
    const report = await migrate(someone, {
      waste_entries: [entry({ offline_id, weight_kg: 9 }), entry({ offline_id: uuid() }), entry(), entry(), entry({ logged_at: undefined }), entry({ weight_kg: '1.5', logged_at: at(9) })],
      carbon_credits: 77, achievements: ['first_scan'], user_preferences: { language: 'en' },
    })
    assert.deepEqual(counts(report), [6, 2, 2, 2])
    assert.equal(report.credits_claimed, 77)
    assert.equal(ok(await someone.api('GET', '/user/profile')).language, 'en')
  })

  test('a payload of neither form, or that is not JSON, is refused', async () => {
    const someone = await signInAnonymously()
    for (const raw of ['[]', '"x"', '{}', 'null', '{"local_storage":[]}', '{"waste_entries":{}}', '{"local_storage":', '']) {
      refused(await someone.api('POST', '/user/migrate-local', { raw }), 400, 'VALIDATION_ERROR')
    }
  })
})

describe('roll-back', () => {
  after(closeSql)

  test('removes exactly what the batch added, edited since or not, and the import can be repeated', async () => {
    const someone = await signInAnonymously()
    const diary = realisticDiary(bangkokInstant)
    const own = ok(await someone.api('POST', '/waste/entries', { body: { category_id: 'food_waste', disposal_method: 'reduced', weight_kg: 3 } }), 201)
    const before = await sql(`select to_jsonb(d) as day from public.user_days d where user_id = $1 order by 1`, [someone.id])
    const report = await migrate(someone, diary.dump)
    const migrated = (await live(someone)).filter(one => one.id !== own.id)
    ok(await someone.api('PUT', `/waste/entries/${migrated[0].id}`, { body: { weight_kg: 50, logged_at: bangkokInstant(-70) } }))
    ok(await someone.api('DELETE', `/waste/entries/${migrated[1].id}`))
    const [{ credits }] = await sql('select sum(carbon_credits)::int as credits from public.waste_entries where user_id = $1', [someone.id])
    const undone = ok(await rollBack(someone, report.batch_id))
    assert.equal(undone.batch_id, report.batch_id)
    assert.equal(undone.removed_entries, report.migrated_entries - 1)
    assert.equal(undone.credits_removed, credits - own.carbon_credits)
    assert.equal(await totalOf(someone), own.carbon_credits + 10)
    assert.deepEqual((await live(someone)).map(one => one.id), [own.id])
    assert.deepEqual(await sql(`select to_jsonb(d) as day from public.user_days d where user_id = $1 order by 1`, [someone.id]), before)
    const profile = ok(await someone.api('GET', '/user/profile'))
    assert.deepEqual([profile.language, profile.theme], ['th', 'notebook'])
    assert.deepEqual(await differences(someone), [])
    refused(await rollBack(someone, report.batch_id), 404, 'NOT_FOUND')
    const again = await migrate(someone, diary.dump)
    assert.equal(again.migrated_entries, report.migrated_entries)
    assert.notEqual(again.batch_id, report.batch_id)
    assert.deepEqual(await differences(someone), [])
  })

  test('leaves a preference that the user has chosen since', async () => {
    const someone = await signInAnonymously()
    const report = await migrate(someone, rawDump({ wasteEntries: [appEntry(at(1))], userPreferences: { language: 'en', theme: 'dark' } }))
    ok(await someone.api('PUT', '/user/profile', { body: { daily_goal: 250, language: 'th' } }))
    ok(await rollBack(someone, report.batch_id))
    const profile = ok(await someone.api('GET', '/user/profile'))
    assert.deepEqual([profile.daily_goal, profile.language], [250, 'th'])
  })

  test('tombstones of a roll-back reach a device that asks for changes', async () => {
    const someone = await signInAnonymously()
    const report = await migrate(someone, rawDump({ wasteEntries: [appEntry(at(1)), appEntry(at(2))] }))
    const { revision } = ok(await someone.api('GET', '/user/sync/status'))
    ok(await rollBack(someone, report.batch_id))
    const feed = ok(await someone.api('POST', '/user/sync/request', { body: { since_revision: revision, limit: 10 } }))
    assert.deepEqual(feed.changes.map(one => one.op), ['delete', 'delete'])
  })

  test('another user\'s batch, an unknown one and an invalid id are not found', async () => {
    const [someone, other] = await Promise.all([signInAnonymously(), signInAnonymously()])
    const report = await migrate(someone, rawDump({ wasteEntries: [appEntry(at(1))] }))
    refused(await rollBack(other, report.batch_id), 404, 'NOT_FOUND')
    refused(await rollBack(someone, uuid()), 404, 'NOT_FOUND')
    const crooked = await rollBack(someone, 'no-uuid')
    assert.ok([400, 404].includes(crooked.status), crooked.text)
    assert.equal((await live(someone)).length, 1)
  })

  test('the raw payload is stored once for each hash, and only if it created something', async () => {
    const someone = await signInAnonymously()
    const dump = rawDump({ wasteEntries: [appEntry(at(1))] })
    await migrate(someone, dump, '?dry_run=true')
    await migrate(someone, dump)
    await migrate(someone, dump)
    await migrate(someone, rawDump({ wasteEntries: [] }))
    const [{ payloads }] = await sql('select count(*) as payloads from private.migration_payloads where user_id = $1', [someone.id])
    assert.equal(payloads, '1')
  })
})
