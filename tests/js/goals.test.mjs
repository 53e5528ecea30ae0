// The statements that docs/gamification.md shows to operators are run as printed, and do what the page says.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { ROOT, bangkokDay, bangkokInstant, closeSql, differences, ok, serviceClient, signInAnonymously, sql, sqlAs } from './lib.mjs'

const page = fs.readFileSync(path.join(ROOT, 'docs/gamification.md'), 'utf8')

/** The statements that the page prints after a marker. */
function printed(mark) {
  const block = new RegExp(`<!-- ${mark} -->\\s*\`\`\`sql\\n([\\s\\S]*?)\`\`\``).exec(page)
  assert.ok(block, `the page has SQL after <!-- ${mark} -->`)
  return block[1]
}

/** Runs SQL as the operator's key, without a user. */
const operator = text => sqlAs(undefined, text, [], 'service_role')
const bottle = (more = {}) => ({ category_id: 'glass_bottles', disposal_method: 'returned', weight_kg: 0.5, ...more })
const ids = list => list.map(one => one.id ?? one.challenge_type)

/** Removes what an earlier run left behind, and afterwards what this one does. */
async function clear() {
  await sql(`delete from auth.users where id in (select user_id from private.rewards
    where source_id in ('glass_guardian', carbon.challenge_id(local_date, 'return_a_bottle')::text))`)
  await sql(`delete from public.daily_challenges where challenge_type = 'return_a_bottle'`)
  await sql(`delete from public.challenge_types where id = 'return_a_bottle'`)
  await sql(`delete from public.achievements where id = 'glass_guardian'`)
}

describe('an operator adds what can be earned, without code', () => {
  let earlier
  before(clear)
  after(async () => { await clear(); await closeSql() })

  test('an achievement and a challenge are rows: the next write grants them, an edit revokes them', async () => {
    const someone = await signInAnonymously()
    for (let count = 0; count < 2; count++) ok(await someone.api('POST', '/waste/entries', { body: bottle() }), 201)
    earlier = await signInAnonymously()
    const before = Array.from({ length: 3 }, () => bottle({ logged_at: bangkokInstant(-40) }))
    ok(await earlier.api('POST', '/waste/entries/batch', { body: { entries: before } }))
    await operator(printed('achievement'))
    await operator(printed('challenge'))

    const created = ok(await someone.api('POST', '/waste/entries', { body: bottle(), lang: 'en' }), 201)
    const unlocked = created.achievements_unlocked.find(one => one.id === 'glass_guardian')
    assert.equal(unlocked?.name, 'Glass Guardian', JSON.stringify(created.achievements_unlocked))
    const completed = created.challenges_completed.find(one => one.challenge_type === 'return_a_bottle')
    assert.equal(completed?.title, 'Bottle Returner', JSON.stringify(created.challenges_completed))
    assert.equal(completed.date, bangkokDay())

    ok(await someone.api('PUT', `/waste/entries/${created.id}`, { body: { category_id: 'glass_bottles', disposal_method: 'recycled' } }))
    const sums = await sql(`select source_id, sum(credits)::integer as credits from private.rewards where user_id = $1 and source = 'achievement'
      and source_id = 'glass_guardian' group by 1`, [someone.id])
    assert.deepEqual(sums, [{ source_id: 'glass_guardian', credits: 0 }])
    const history = await sql(printed('ledger').replace('00000000-0000-0000-0000-000000000000', someone.id))
    assert.ok(history.length > 3)
    assert.deepEqual(await differences(someone), [])
  })

  test('a user who met the criteria before gets it with the next write of any kind', async () => {
    const written = ok(await earlier.api('POST', '/waste/entries', { body: { category_id: 'food_waste', disposal_method: 'composted', weight_kg: 0.1 } }), 201)
    assert.ok(ids(written.achievements_unlocked).includes('glass_guardian'), JSON.stringify(written.achievements_unlocked))
    const shown = ok(await earlier.api('GET', '/gamification/achievements'))
    assert.equal(shown.achievements.find(one => one.id === 'glass_guardian').unlocked, true)
    assert.deepEqual(await differences(earlier), [])
  })

  test('ending one revokes nothing and grants nothing more', async () => {
    const holder = await signInAnonymously()
    const entries = Array.from({ length: 3 }, () => bottle())
    const batch = ok(await holder.api('POST', '/waste/entries/batch', { body: { entries } }))
    await operator(printed('end'))
    ok(await holder.api('DELETE', `/waste/entries/${batch.entries[0].id}`))
    const late = await signInAnonymously()
    const later = ok(await late.api('POST', '/waste/entries/batch', { body: { entries } }))
    assert.ok(!ids(later.achievements_unlocked).includes('glass_guardian'))
    assert.ok(!ids(later.challenges_completed).includes('return_a_bottle'))
    const remaining = await sqlAs(holder, `select source, name_th, event from public.credit_history where user_id = $1
      and (source_id = 'glass_guardian' or source_id = carbon.challenge_id(local_date, 'return_a_bottle')::text) order by source`, [holder.id])
    assert.deepEqual(remaining, [
      { source: 'achievement', name_th: 'ผู้พิทักษ์ขวดแก้ว', event: 'granted' },
      { source: 'challenge', name_th: 'คืนขวดวันนี้', event: 'granted' },
    ])
    for (const one of [holder, late]) assert.deepEqual(await differences(one), [])
  })

  const wrong = [
    [{ at_least: 1 }, 'metric'],
    [{ metric: 'likes', at_least: 1 }, 'metric'],
    [{ metric: 'total_entries' }, 'at_least'],
    [{ metric: 'total_entries', at_least: 0 }, 'at_least'],
    [{ metric: 'total_entries', at_least: 'many' }, 'at_least'],
    [{ metric: 'total_entries', at_least: 1.5 }, 'at_least'],
    [{ metric: 'weight_kg', at_least: 1, disposal_method: 'burnt' }, 'disposal_method'],
    [{ metric: 'weight_kg', at_least: 1, category_id: 'paper' }, 'category_id'],
    [{ metric: 'total_entries', at_least: 1, category_any_of: ['paper'] }, 'category_any_of'],
    [{ metric: 'daily_streak', at_least: 7, disposal_method: 'recycled' }, 'disposal_method'],
    [{ metric: 'total_entries', at_least: 1, atleast: 2 }, 'atleast'],
  ]
  for (const [criteria, member] of wrong) {
    test(`${JSON.stringify(criteria)} is refused by the name of ${member}`, async () => {
      const row = { id: 'wrong', name_th: 'ผิด', name_en: 'Wrong', description_th: 'ผิด', description_en: 'Wrong', icon: '❌', credits_reward: 1, criteria }
      const answer = await serviceClient().from('achievements').insert(row)
      assert.equal(answer.status, 400, JSON.stringify(answer))
      assert.match(answer.error.message, new RegExp(`\\b${member}\\b`))
      assert.match(answer.error.details, /^carbon\./)
    })
  }

  test('a challenge counts entries of its day alone, an achievement those of a diary', async () => {
    const words = { title_th: 'ผิด', title_en: 'Wrong', description_th: 'ผิด', description_en: 'Wrong', icon: '❌', credits_reward: 1 }
    const challenge = { id: 'wrong', ...words, criteria: { metric: 'daily_streak', at_least: 7 } }
    assert.match((await serviceClient().from('challenge_types').insert(challenge)).error.message, /\bmetric\b/)
    const row = { id: 'wrong', name_th: 'ผิด', name_en: 'Wrong', description_th: 'ผิด', description_en: 'Wrong', icon: '❌', credits_reward: 1 }
    const today = { ...row, criteria: { metric: 'entries_today', at_least: 1 } }
    assert.match((await serviceClient().from('achievements').insert(today)).error.message, /\bmetric\b/)
  })
})
