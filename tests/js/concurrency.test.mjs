// Many simultaneous writes of one user: nothing is lost, nothing counts twice, revisions have no gap.
import { after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { bangkokDay, bangkokInstant, closeSql, differences, ok, rows, signInAnonymously, sql, sqlAs, supabase, untilDone, uuid } from './lib.mjs'
import { appEntry, rawDump } from './dumps.mjs'
import { rewardsOf, summaryOf } from './figures.mjs'

const body = (more = {}) => ({ category_id: 'glass_bottles', disposal_method: 'reused', weight_kg: 0.25, ...more })

/** Asserts that the user's entry keys have the revisions that the changes so far must have left, without a gap up to the newest. */
async function assertRevisions(someone, changes) {
  const [found] = await sql(`select t.revision, t.entries, (select count(*) from public.waste_entries e where e.user_id = t.user_id) as live,
    (select count(distinct k.revision) from private.entry_keys k where k.user_id = t.user_id) as keys, (select max(revision) from private.entry_keys k where k.user_id = t.user_id) as newest
    from public.user_totals t where t.user_id = $1`, [someone.id])
  assert.equal(found.entries.toString(), found.live)
  assert.equal(found.newest, found.revision)
  if (changes !== undefined) assert.equal(Number(found.revision), changes)
  return found
}

describe('one person on many connections', () => {
  after(closeSql)

  test('50 simultaneous creates are all stored, and credits, days and revisions are correct', async () => {
    const someone = await signInAnonymously()
    const stated = Array.from({ length: 50 }, (_, index) => ({ weight_kg: (index + 10) / 1000, logged_at: bangkokInstant(-(index % 35) - 1) }))
    const answers = await Promise.all(stated.map(one => someone.api('POST', '/waste/entries', { body: body(one) })))
    const entries = answers.map(one => ok(one, 201))
    assert.deepEqual(entries.map(one => one.revision).sort((a, b) => a - b), Array.from({ length: 50 }, (_, index) => index + 1))
    const counted = stated.map(one => ({ category: 'glass_bottles', method: 'reused', weight: one.weight_kg, at: one.logged_at }))
    const expected = summaryOf(counted).credits + rewardsOf(counted, { today: bangkokDay() }).credits
    assert.equal(BigInt(ok(await someone.api('GET', '/gamification/profile')).total_credits), expected)
    await assertRevisions(someone, 50)
    assert.deepEqual(await differences(someone), [])
  })

  test('of simultaneous creates with one offline_id exactly one succeeds, through every interface', async () => {
    const someone = await signInAnonymously()
    const client = supabase(someone)
    for (let round = 0; round < 8; round++) {
      const offline_id = uuid()
      const entry = body({ offline_id })
      const edge = Promise.all(Array.from({ length: 3 }, () => someone.api('POST', '/waste/entries', { body: entry })))
      const batch = someone.api('POST', '/waste/entries/batch', { body: { entries: [entry, entry] } })
      const rest = client.from('waste_entries').insert(entry).select('id')
      const inSql = sqlAs(someone, "select public.create_waste_entry(json_build_object('entry', $1::jsonb)) as answer", [JSON.stringify(entry)])
      const [single, many, inserted, [{ answer }]] = await Promise.all([edge, batch, rest, inSql])
      const created = single.filter(one => one.status === 201).length + ok(many).created + (inserted.error ? 0 : 1) + (answer.duplicate ? 0 : 1)
      assert.equal(created, 1)
      assert.ok(single.every(one => [200, 201].includes(one.status)), single.map(one => one.text).join('\n'))
      if (inserted.error) assert.equal(inserted.error.code, '23505', JSON.stringify(inserted.error))
      const ids = new Set([...single.map(one => one.data.id), ...ok(many).entries.map(one => one.id), answer.id])
      assert.equal(ids.size, 1)
    }
    await assertRevisions(someone, 8)
    assert.deepEqual(await differences(someone), [])
  })

  test('the same dump sent five times at once is imported once', async () => {
    const someone = await signInAnonymously()
    const dump = rawDump({ wasteEntries: Array.from({ length: 40 }, (_, index) => appEntry(bangkokInstant(-index - 1))) })
    const reports = await Promise.all(Array.from({ length: 5 }, () => untilDone(() => someone.api('POST', '/user/migrate-local', { body: dump }))))
    const migrated = reports.map(one => ok(one).migrated_entries)
    assert.deepEqual(migrated.sort((a, b) => b - a), [40, 0, 0, 0, 0])
    await assertRevisions(someone, 40)
    assert.deepEqual(await differences(someone), [])
  })

  test('a roll-back while its entries are changed, deleted and sent again leaves everything consistent', async () => {
    const someone = await signInAnonymously()
    const olds = Array.from({ length: 20 }, (_, index) => appEntry(bangkokInstant(-index - 1)))
    const report = ok(await someone.api('POST', '/user/migrate-local', { body: rawDump({ wasteEntries: olds }) }))
    const { entries } = ok(await someone.api('GET', '/waste/entries?page=1&limit=100'))
    const answers = await Promise.all([
      ...entries.slice(0, 6).map(one => someone.api('PUT', `/waste/entries/${one.id}`, { body: { weight_kg: 2, logged_at: bangkokInstant(-200) } })),
      untilDone(() => someone.api('DELETE', `/user/migrate-local/${report.batch_id}`)),
      ...entries.slice(6, 12).map(one => someone.api('DELETE', `/waste/entries/${one.id}`)),
      untilDone(() => someone.api('DELETE', `/user/migrate-local/${report.batch_id}`)),
      someone.api('POST', '/waste/entries', { body: body({ offline_id: uuid() }) }),
    ])
    assert.ok(answers.every(one => [200, 201, 404].includes(one.status)), answers.map(one => one.status).join())
    assert.equal(ok(await someone.api('GET', '/user/sync/status')).entries, 1)
    assert.deepEqual(await differences(someone), [])
    await assertRevisions(someone)
  })

  test('simultaneous REST inserts, updates and deletions leave correct totals', async () => {
    const someone = await signInAnonymously()
    const client = supabase(someone)
    const ids = rows(await client.from('waste_entries').insert(Array.from({ length: 30 }, () => body())).select('id')).map(one => one.id)
    await Promise.all([
      ...ids.slice(0, 10).map(id => client.from('waste_entries').update({ weight_kg: 3, logged_at: bangkokInstant(-65) }).eq('id', id).then(rows)),
      ...ids.slice(10, 20).map(id => client.from('waste_entries').delete().eq('id', id).then(rows)),
      client.from('waste_entries').update({ notes: 'all' }).in('id', ids).then(rows),
      ...Array.from({ length: 10 }, () => client.from('waste_entries').insert(body()).then(rows)),
    ])
    assert.equal(rows(await client.from('waste_entries').select('id')).length, 30)
    await assertRevisions(someone)
    assert.deepEqual(await differences(someone), [])
  })
})
