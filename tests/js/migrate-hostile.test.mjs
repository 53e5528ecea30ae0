// Very large and hostile dumps: the answer is always an envelope, the counts add up, and nobody else is affected. Times are
// printed for the reader; no assertion depends on them.
import { after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { api, bangkokDay, bangkokInstant, closeSql, differences, ok, refused, signInAnonymously, sql } from './lib.mjs'
import { appEntry, largeDiary, rawDump } from './dumps.mjs'
import { rewardsOf, summaryOf } from './figures.mjs'

const MIB = 1024 * 1024

async function timed(what, action) {
  const begin = performance.now()
  const answer = await action()
  console.log(`# ${what}: ${((performance.now() - begin) / 1000).toFixed(2)} s`)
  return answer
}

function balanced(report) {
  assert.equal(report.received_entries, report.migrated_entries + report.duplicate_entries + report.rejected_entries)
  assert.ok(report.rejected.length <= 1000 && report.adjusted.length <= 1000)
  return report
}

const storage = value => JSON.stringify({ local_storage: { wasteEntries: value } })
const send = (someone, raw) => someone.api('POST', '/user/migrate-local', { raw })

describe('large dumps', () => {
  after(closeSql)

  test('10,000 entries are imported with one call, and a second call adds nothing', async () => {
    // Before the first call, because this takes seconds in which a persistent connection would expire unnoticed.
    const { dump, good } = largeDiary(10_000)
    const expected = summaryOf(good)
    const rewards = rewardsOf(good.map(one => ({ ...one, moved: true })), { today: bangkokDay() })
    const someone = await signInAnonymously()
    const report = balanced(ok(await timed('10,000 entries', () => someone.api('POST', '/user/migrate-local', { body: dump }))))
    assert.equal(report.migrated_entries, 10_000)
    assert.equal(BigInt(report.credits_imported), expected.credits)
    const profile = ok(await someone.api('GET', '/gamification/profile'))
    assert.equal(BigInt(profile.total_credits), expected.credits + rewards.credits)
    assert.deepEqual([...report.achievements_granted].sort(), rewards.achievements)
    assert.deepEqual(await differences(someone), [])
    const again = balanced(ok(await timed('the same again', () => someone.api('POST', '/user/migrate-local', { body: dump }))))
    assert.deepEqual([again.migrated_entries, again.duplicate_entries], [0, 10_000])
    const undone = ok(await timed('its roll-back', () => someone.api('DELETE', `/user/migrate-local/${report.batch_id}`)))
    assert.equal(undone.removed_entries, 10_000)
    assert.deepEqual(await differences(someone), [])
  })

  test('a dump just below 10 MiB is imported, one above is refused as too large', async () => {
    const someone = await signInAnonymously()
    const { dump } = largeDiary(3_500, 2_700)
    const text = JSON.stringify(dump)
    assert.ok(text.length > 9.5 * MIB && text.length <= 10 * MIB, `${text.length} bytes`)
    const report = balanced(ok(await timed('10 MiB', () => send(someone, text))))
    assert.equal(report.migrated_entries, 3_500)
    refused(await send(someone, text + ' '.repeat(10 * MIB - text.length + 1)), 413, 'PAYLOAD_TOO_LARGE')
  })

  test('more than 20,000 new entries are refused entirely', async () => {
    const someone = await signInAnonymously()
    const { dump } = largeDiary(20_001)
    refused(await timed('20,001 entries', () => someone.api('POST', '/user/migrate-local', { body: dump })), 429, 'RATE_LIMITED')
    assert.equal(ok(await someone.api('GET', '/user/sync/status')).entries, 0)
  })

  test('three million empty objects are all counted, and listed up to the limit', async () => {
    const someone = await signInAnonymously()
    const answer = await timed('3,000,000 empty objects', () => send(someone, storage(`[${'{},'.repeat(2_999_999)}{}]`)))
    const report = balanced(ok(answer))
    assert.equal(report.received_entries, 3_000_000)
    assert.equal(report.rejected_entries, 3_000_000)
    assert.equal(report.rejected.length, 1000)
  })
})

describe('hostile dumps', () => {
  after(closeSql)
  const good = JSON.stringify(appEntry(bangkokInstant(-1)))
  const withMember = (name, value) => `${good.slice(0, -1)},${JSON.stringify(name)}:${value}}`
  const imported = {
    '__proto__ members': storage(`[${withMember('__proto__', '{"weight":99}')},{"__proto__":{"categoryId":"metal_cans"}}]`),
    'a __proto__ key of the storage': `{"local_storage":{"__proto__":"[]","constructor":"{}","wasteEntries":${JSON.stringify(`[${good}]`)}}}`,
    'an unknown member nested 100,000 deep': storage(`[${withMember('deep', '['.repeat(100_000) + ']'.repeat(100_000))},${good}]`),
    'a key nested 100,000 deep beside a good one': JSON.stringify({ local_storage: { 'pending-sync': '['.repeat(100_000), wasteEntries: `[${good}]` } }),
    'numbers beyond a double': storage(`[${withMember('carbonCredits', '1e999')},${good.replace('"weight":0.5', '"weight":1e400')},${good.replace('"weight":0.5', `"weight":${'9'.repeat(5000)}`)}]`),
    'tiny exponents': storage(`[${good},${good.replace('"weight":0.5', '"weight":1e-400000000')},${good.replace('"weight":0.5', '"weight":1e99999999999999999999')}]`),
    'repeated members': storage(`[${good},${good.replace('{', '{"weight":0,"weight":-1,')}]`),
    'NUL and lone surrogates everywhere': storage(`[${good},{"id":"\\u0000\\ud800","categoryId":"\\udfff","disposal":"\\u0000","weight":1,"timestamp":"\\u0000"}]`),
    'values of every wrong kind': storage(`[${good},null,1,"x",true,[],[[]],{"id":{},"categoryId":[],"disposal":7,"weight":{},"timestamp":[]}]`),
    'times outside any calendar': storage(`[${good},${['0000-00-00T00:00:00Z', '999999-01-01T00:00:00Z', '2025-02-30T00:00:00Z', '2025-01-01T25:61:61Z', '2025-01-01T00:00:00+99:99', '1e9']
      .map(time => good.replace(/"timestamp":"[^"]*"/, `"timestamp":"${time}"`)).join()}]`),
    'storage values that are not strings': `{"local_storage":{"wasteEntries":${JSON.stringify(`[${good}]`)},"pending-sync":[1],"recentWasteEntries":{"a":1},"x":null,"carbonCredits":5}}`,
  }
  for (const [name, raw] of Object.entries(imported)) {
    test(`${name}: the valid entry is imported, the rest does no harm`, async () => {
      const someone = await signInAnonymously()
      const report = balanced(ok(await send(someone, raw)))
      assert.ok(report.migrated_entries <= 1 + (name.startsWith('repeated') ? 1 : 0), JSON.stringify(counts(report)))
      const unreadable = report.unreadable_keys.some(one => one.key === 'wasteEntries')
      assert.equal(report.migrated_entries >= 1, !unreadable, JSON.stringify(report).slice(0, 400))
      assert.ok(!unreadable || name.includes('deep'), 'only a depth beyond the limit makes the entire key unreadable')
      assert.deepEqual(await differences(someone), [])
    })
  }

  test('a body that is not UTF-8, cut off, or nested too deeply is refused and the next request works', async () => {
    const someone = await signInAnonymously()
    for (const raw of [Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), `{"local_storage":{"wasteEntries":"[`, `${'['.repeat(200_000)}`, `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`]) {
      const error = refused(await send(someone, raw), 400, 'VALIDATION_ERROR')
      assert.ok(error.message)
    }
    assert.equal(ok(await someone.api('GET', '/user/sync/status')).entries, 0)
    ok(await api('GET', '/waste/categories'))
  })

  test('an id, notes or place of a megabyte does no harm', async () => {
    const someone = await signInAnonymously()
    const long = 'ก'.repeat(300_000)
    const entry = appEntry(bangkokInstant(-1))
    const report = balanced(ok(await someone.api('POST', '/user/migrate-local', { body: rawDump({ wasteEntries: [entry, { ...entry, id: long }, { ...entry, id: 'n', notes: long }, { ...entry, id: 'p', location: long }] }) })))
    assert.ok(report.migrated_entries >= 3, JSON.stringify(counts(report)))
    const [{ longest }] = await sql('select max(length(notes) + length(coalesce(place, \'\'))) as longest from public.waste_entries where user_id = $1', [someone.id])
    assert.ok(longest <= 4000 + 200)
    assert.deepEqual(await differences(someone), [])
  })

  test('a failure at the very end leaves nothing behind', async () => {
    const someone = await signInAnonymously()
    const entry = appEntry(bangkokInstant(-2))
    await sql(`create or replace function private.tg_test__fail() returns trigger language plpgsql
      as $$ begin raise exception using errcode = 'XX000', message = 'stopped by a test'; end $$`)
    await sql(`create constraint trigger test_fail after insert on private.migration_batches deferrable initially deferred
      for each row when (new.user_id = '${someone.id}') execute function private.tg_test__fail()`)
    try {
      refused(await someone.api('POST', '/user/migrate-local', { body: rawDump({ wasteEntries: [entry] }) }), 500, 'INTERNAL_ERROR')
    } finally {
      await sql('drop trigger test_fail on private.migration_batches')
      await sql('drop function private.tg_test__fail()')
    }
    const [{ left }] = await sql(`select (select count(*) from public.waste_entries where user_id = $1) + (select count(*) from private.entry_keys where user_id = $1)
      + (select count(*) from private.migration_batches where user_id = $1) as left`, [someone.id])
    assert.equal(left, '0')
    assert.equal(ok(await someone.api('POST', '/user/migrate-local', { body: rawDump({ wasteEntries: [entry] }) })).migrated_entries, 1)
  })
})

const counts = report => [report.received_entries, report.migrated_entries, report.duplicate_entries, report.rejected_entries]
