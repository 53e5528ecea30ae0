// The main journey on real input: a person with the existing app's diary signs in by phone code, imports it, logs from two
// devices of which one was offline, and sees the same figures through the edge API, supabase-js and SQL.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import {
  api, awaitSms, bangkokDay, bangkokInstant, closeSql, deviceInfo, differences, freshPhone, ok, refused, rows, signInByPhone,
  claimsOf, sleep, sql, sqlAs, supabase, uuid,
} from './lib.mjs'
import { realisticDiary } from './dumps.mjs'
import { assertEntryFigures, levelOf, rewardsOf, scaled, streakOf, summaryOf } from './figures.mjs'

const phone = freshPhone()
const diary = realisticDiary(bangkokInstant)
const deviceA = deviceInfo()
const deviceB = deviceInfo(undefined, 'ios')
const logged = []
let requested, personA, personB

const entryIn = (category, method, weight, at, more = {}) => {
  logged.push({ category, method, weight: String(weight), at })
  return { category_id: category, disposal_method: method, weight_kg: weight, logged_at: at, ...more }
}
const expectedEntries = () => [...diary.good.map(one => ({ ...one, moved: true })), ...logged]
const expectedRewards = () => rewardsOf(expectedEntries(), { today: bangkokDay() })

describe('the main journey on real input', () => {
  before(async () => {
    const typed = `${phone.typed.slice(0, 3)}-${phone.typed.slice(3, 6)} ${phone.typed.slice(6)}`
    requested = ok(await api('POST', '/auth/phone-otp', { body: { phone_number: typed } }))
  })
  after(closeSql)

  test('the code comes by SMS, in Thai, with six digits', async () => {
    assert.ok(Date.parse(requested.expires_at) > Date.now() + 4 * 60_000)
    assert.ok(Date.parse(requested.resend_available_at) > Date.now())
    const sms = await awaitSms(phone.bare)
    assert.match(sms.code, /^\d{6}$/)
    assert.match(sms.text, /[\u0E00-\u0E7F]/)
    assert.ok(sms.text.includes(sms.code))
  })

  test('the code signs device A in, and a profile begins', async () => {
    const sms = await awaitSms(phone.bare)
    const session = ok(await api('POST', '/auth/verify-otp', { body: { otp_id: requested.otp_id, otp_code: sms.code, device_info: deviceA } }))
    assert.equal(session.user.phone_number, phone.e164)
    assert.equal(session.user.is_new_user, true)
    assert.equal(session.user.onboarding_completed, false)
    assert.equal(session.expires_in, 3600)
    assert.ok(session.device_token.length >= 43, 'a device token of 256 bits')
    const claims = claimsOf(session.access_token)
    assert.equal(claims.sub, session.user.id)
    assert.equal(claims.role, 'authenticated')
    personA = { id: session.user.id, token: session.access_token, claims, api: (method, route, options = {}) => api(method, route, { token: session.access_token, ...options }) }
    const profile = ok(await personA.api('PUT', '/user/profile', { body: { display_name: 'มะลิ', province: 'TH-50' } }))
    assert.equal(profile.phone_number, phone.e164)
    assert.equal(profile.is_anonymous, false)
    assert.equal(profile.province, 'TH-50')
    assert.equal(profile.language, 'th')
    assert.equal(profile.time_zone, 'Asia/Bangkok')
  })

  test('a dry run reports what the old diary holds and writes nothing', async () => {
    const report = ok(await personA.api('POST', '/user/migrate-local?dry_run=true', { body: diary.dump }))
    assertMigration(report)
    assert.equal(report.migrated_entries, diary.good.length)
    const [counts] = await sql(`select (select count(*) from public.waste_entries where user_id = $1) as entries,
      (select count(*) from private.migration_batches where user_id = $1) as batches`, [personA.id])
    assert.deepEqual(counts, { entries: '0', batches: '0' })
  })

  test('the old diary is imported, and what could not be is reported with its reason', async () => {
    const report = ok(await personA.api('POST', '/user/migrate-local', { body: diary.dump }))
    assertMigration(report)
    assert.match(report.batch_id, /^[0-9a-f-]{36}$/)
    assert.equal(report.migrated_entries, diary.good.length)
    assert.equal(report.duplicate_entries, diary.duplicates)
    assert.equal(BigInt(report.credits_imported), summaryOf(diary.good).credits)
    for (const one of report.rejected) {
      assert.equal(one.key, 'wasteEntries')
      assert.equal(typeof one.index, 'number')
      assert.equal(typeof one.id, 'string')
      assert.ok(one.reason.length > 0)
    }
    const profile = ok(await personA.api('GET', '/user/profile'))
    assert.equal(profile.onboarding_completed, true)
    assert.equal(profile.language, 'en')
  })

  test('the same dump once more adds nothing', async () => {
    const report = ok(await personA.api('POST', '/user/migrate-local', { body: diary.dump }))
    assertMigration(report)
    assert.equal(report.migrated_entries, 0)
    assert.equal(report.duplicate_entries, diary.duplicates + diary.good.length)
    assert.equal(report.credits_imported, 0)
    await assertSameFiguresEverywhere()
  })

  test('device A logs entries online', async () => {
    const first = ok(await personA.api('POST', '/waste/entries', {
      body: entryIn('metal_cans', 'recycled', 1.25, bangkokInstant(0), { notes: 'กระป๋องน้ำอัดลม', device_id: deviceA.device_id, offline_id: uuid() }),
    }), 201)
    assertEntryFigures(first)
    assert.equal(first.local_date, bangkokDay(0))
    assert.equal(first.province, 'TH-50')
    assert.equal(first.streak.current, expectedStreak().current)
    const { logged_at: ignored, ...now } = entryIn('plastic_bags', 'avoided', 0.5, new Date().toISOString())
    assertEntryFigures(ok(await personA.api('POST', '/waste/entries', { body: now }), 201))
  })

  test('device B signs in with the same number after the resend pause', async () => {
    refused(await api('POST', '/auth/phone-otp', { body: { phone_number: phone.typed } }), 429, 'RATE_LIMITED')
    await sleep(Math.max(0, Date.parse(requested.resend_available_at) - Date.now()) + 500)
    personB = await signInByPhone(phone, deviceB)
    assert.equal(personB.id, personA.id)
    assert.equal(personB.session.user.is_new_user, false)
    assert.equal(personB.session.user.onboarding_completed, true)
  })

  test('device B was offline and sends its queue twice, the second time in another order', async () => {
    const queue = [
      entryIn('food_waste', 'composted', 0.9, bangkokInstant(-5, '07:00:00'), { offline_id: uuid(), device_id: deviceB.device_id }),
      entryIn('organic_waste', 'mulch', 2.005, bangkokInstant(-6, '07:00:00'), { offline_id: uuid(), device_id: deviceB.device_id }),
      entryIn('electronic_waste', 'disposed', 0.333, bangkokInstant(-7, '07:00:00'), { offline_id: uuid(), device_id: deviceB.device_id }),
    ]
    const bad = { category_id: 'glass_bottles', disposal_method: 'composted', weight_kg: 1, offline_id: uuid() }
    const first = ok(await personB.api('POST', '/waste/entries/batch', { body: { entries: [...queue, bad, queue[0]] } }))
    assert.deepEqual([first.processed, first.created, first.duplicates, first.errors], [5, 3, 1, 1])
    assert.deepEqual(first.entries.map(one => one.status), ['created', 'created', 'created', 'error', 'duplicate'])
    assert.equal(first.entries[4].id, first.entries[0].id)
    assert.equal(BigInt(first.total_credits_earned), summaryOf(logged.slice(-3)).credits)
    const [again, parallel] = await Promise.all([
      personB.api('POST', '/waste/entries/batch', { body: { entries: [...queue].reverse() } }),
      personB.api('POST', '/waste/entries/batch', { body: { entries: queue } }),
    ])
    for (const answer of [again, parallel]) {
      const data = ok(answer)
      assert.deepEqual([data.created, data.duplicates, data.errors, data.total_credits_earned], [0, 3, 0, 0])
    }
  })

  test('both devices see every entry through sync', async () => {
    for (const [someone, device] of [[personA, deviceA], [personB, deviceB]]) {
      const seen = new Map()
      let since = 0, more = true
      while (more) {
        const page = ok(await someone.api('POST', '/user/sync/request', { body: { since_revision: since, limit: 5, device_id: device.device_id } }))
        for (const change of page.changes) seen.set(change.entry.id, change.entry)
        since = page.changes.at(-1)?.revision ?? page.revision
        more = page.has_more
      }
      assert.equal(seen.size, expectedEntries().length)
    }
    const status = ok(await personA.api('GET', '/user/sync/status'))
    assert.equal(status.entries, expectedEntries().length)
    assert.equal(status.devices.length, 2)
  })

  test('credits, level, streak and rank are the same by the edge, by supabase-js and by SQL, and correct', assertSameFiguresEverywhere)

  test('rank counts the listed users with more credits, and the board shows the person in that place', async () => {
    await eventually(async () => {
      const profile = ok(await personA.api('GET', '/gamification/profile'))
      const board = ok(await personA.api('GET', '/gamification/leaderboard?type=global&timeframe=all_time&limit=1'))
      const province = ok(await personA.api('GET', '/gamification/leaderboard?type=province&timeframe=all_time&province=TH-50&limit=100'))
      const [expected] = await sql(`select 1 + count(*) filter (where t.credits + t.rewards > mine.credits + mine.rewards) as rank from public.user_totals mine
        cross join public.user_totals t join public.profiles p on p.id = t.user_id
        where mine.user_id = $1 and t.entries > 0 and not p.is_anonymous and p.visible_in_leaderboard and p.privacy_level < 3 and p.closed_until is null`, [personA.id])
      assert.equal(profile.rank.global, Number(expected.rank))
      assert.equal(board.current_user.rank, Number(expected.rank))
      assert.equal(province.current_user.rank, profile.rank.province)
      const weekly = ok(await personA.api('GET', '/waste/leaderboard?type=global&timeframe=weekly&limit=1'))
      assert.equal(typeof weekly.as_of, 'string')
    })
  })
})

function assertMigration(report) {
  assert.equal(report.received_entries, diary.received)
  assert.equal(report.rejected_entries, diary.rejected)
  assert.equal(report.rejected.length, diary.rejected)
  assert.equal(report.received_entries, report.migrated_entries + report.duplicate_entries + report.rejected_entries)
  assert.deepEqual(report.unreadable_keys.map(one => one.key), diary.unreadable)
  assert.equal(typeof report.current_level, 'number')
}

const expectedStreak = () => streakOf([...summaryOf(expectedEntries()).days.keys()], bangkokDay(0))

async function assertSameFiguresEverywhere() {
  const sums = summaryOf(expectedEntries())
  const rewards = expectedRewards()
  const total = sums.credits + rewards.credits
  const level = levelOf(total)
  const streak = expectedStreak()
  const expected = {
    credits: total, level: level.level, next: level.toNext, streak: BigInt(streak.current), longest: BigInt(streak.max), trees: level.trees,
  }
  const shape = one => ({
    credits: BigInt(one.total_credits), level: Number(one.current_level), next: one.credits_to_next_level === null ? null : BigInt(one.credits_to_next_level),
    streak: BigInt(one.daily_streak), longest: BigInt(one.max_streak), trees: BigInt(one.trees_saved),
  })
  const client = supabase(personA)
  const edge = ok(await personA.api('GET', '/gamification/profile'))
  assert.deepEqual(shape(edge), expected, 'edge')
  assert.equal(edge.achievements_count, rewards.achievements.length)
  assert.equal(scaled(edge.total_waste_kg, 3), sums.grams)
  assert.equal(scaled(edge.co2e_avoided_kg, 6), sums.avoided)
  assert.deepEqual(shape(rows(await client.rpc('get_gamification_profile'))), expected, 'rpc')
  const [view] = rows(await client.from('user_gamification').select('*'))
  assert.deepEqual(shape(view), expected, 'REST view')
  const [inSql] = await sqlAs(personA, 'select * from public.user_gamification')
  assert.deepEqual(shape(inSql), expected, 'SQL view')
  const history = rows(await client.from('credit_history').select('*').order('number'))
  assert.deepEqual(history.map(one => one.number), history.map((_, index) => index + 1))
  assert.equal(history.reduce((sum, one) => sum + BigInt(one.credits), 0n), rewards.credits, 'the ledger')
  const [again] = await sql(`select total_credits, carbon.level(total_credits) as current_level, carbon.credits_to_next_level(total_credits) as credits_to_next_level,
      carbon.trees(total_credits) as trees_saved, max_streak, (select current_streak from carbon.streak(days, $2::date)) as daily_streak
    from (select sum(carbon.credits(category_id, disposal_method, weight_kg, factor_set))::bigint + $3 as total_credits,
        carbon.max_streak(local_date) as max_streak, array_agg(local_date) as days
      from public.waste_entries where user_id = $1) as sums`, [personA.id, bangkokDay(0), rewards.credits.toString()])
  assert.deepEqual(shape(again), expected, 'SQL functions over the entries')
  const list = rows(await client.from('waste_entries').select('*').order('logged_at'))
  assert.equal(list.length, expectedEntries().length)
  list.forEach(one => assertEntryFigures(one, 'REST'))
  assert.deepEqual(summaryOf(list.map(one => ({ category: one.category_id, method: one.disposal_method, weight: one.weight_kg, at: one.logged_at }))).credits, sums.credits)
  const pages = ok(await personA.api('GET', '/waste/entries?page=1&limit=100'))
  assert.deepEqual(pages.entries.map(one => one.id).sort(), list.map(one => one.id).sort())
  pages.entries.forEach(one => assertEntryFigures(one, 'edge'))
  assert.deepEqual(await differences(personA), [])
}

/** Other tests sign in and log meanwhile, so comparisons of two moments get a few tries. */
async function eventually(attempt, tries = 5) {
  for (let left = tries - 1; ; left--) {
    try { return await attempt() } catch (error) { if (left === 0) throw error }
    await sleep(300)
  }
}
