// Sums by day, month and category, the gamification profile, boards, and the sync feed, over the edge.
import { before, after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { bangkokDay, bangkokInstant, closeSql, invalidField, ok, refused, signInAnonymously, signInByPhone, boardsKnow } from './lib.mjs'
import { levelOf, rewardsOf, scaled, streakOf, summaryOf } from './figures.mjs'

const KINDS = [['food_waste', 'disposed', 1.1], ['food_waste', 'composted', 2.5], ['plastic_bags', 'disposed', 0.3], ['metal_cans', 'sold', 0.615], ['organic_waste', 'biogas', 10]]

describe('sums', () => {
  let someone, stated
  before(async () => {
    someone = await signInAnonymously()
    const days = [0, 0, -1, -2, -2, -2, -40, -41, -100, -400]
    stated = days.flatMap((day, index) => KINDS.slice(0, 1 + index % KINDS.length).map(([category, method, weight]) => ({ category, method, weight, at: bangkokInstant(day, '09:00:00') })))
    const entries = stated.map(one => ({ category_id: one.category, disposal_method: one.method, weight_kg: one.weight, logged_at: one.at }))
    assert.equal(ok(await someone.api('POST', '/waste/entries/batch', { body: { entries } })).created, entries.length)
  })

  const within = (from, to) => summaryOf(stated.filter(one => { const day = bangkokDayOf(one.at); return day >= from && day <= to }))
  const bangkokDayOf = at => new Intl.DateTimeFormat('en-CA', { timeZone: 'Asia/Bangkok' }).format(new Date(at))
  const assertSums = (shown, expected) => {
    assert.equal(shown.total_entries, expected.entries)
    assert.equal(scaled(shown.total_weight_kg, 3), expected.grams)
    assert.equal(BigInt(shown.total_credits), expected.credits)
    assert.equal(BigInt(shown.credits_positive), expected.positive)
    assert.equal(BigInt(shown.credits_negative), expected.negative)
    assert.equal(scaled(shown.co2e_kg, 6), expected.co2e)
    assert.equal(scaled(shown.co2e_avoided_kg, 6), expected.avoided)
  }

  test('of a day are those of that day\'s entries, by category too; today is the default', async () => {
    for (const offset of [0, -1, -2, -3, -400]) {
      const day = bangkokDay(offset)
      const shown = ok(await someone.api('GET', `/waste/stats/daily?date=${day}`))
      const expected = within(day, day)
      assert.equal(shown.date, day)
      assertSums(shown, expected)
      assert.equal(BigInt(shown.trees_equivalent), levelOf(expected.credits).trees)
      assert.deepEqual(Object.keys(shown.categories).sort(), [...expected.categories.keys()].sort())
      for (const [id, sums] of expected.categories) {
        assert.deepEqual([shown.categories[id].entries, scaled(shown.categories[id].weight_kg, 3), BigInt(shown.categories[id].credits)], [sums.entries, sums.grams, sums.credits])
      }
    }
    assert.equal(ok(await someone.api('GET', '/waste/stats/daily')).date, bangkokDay())
  })

  test('of a month are those of its days', async () => {
    for (const offset of [0, -40, -100]) {
      const month = bangkokDay(offset).slice(0, 7)
      const shown = ok(await someone.api('GET', `/waste/stats/monthly?month=${month}`))
      const expected = within(`${month}-01`, `${month}-31`)
      assertSums(shown, expected)
      const days = shown.days.filter(one => one.entries > 0)
      assert.deepEqual(days.map(one => one.date), [...expected.days.keys()].sort())
      for (const one of days) {
        const sums = expected.days.get(one.date)
        assert.deepEqual([one.entries, scaled(one.weight_kg, 3), BigInt(one.credits)], [sums.entries, sums.grams, sums.credits])
      }
    }
  })

  test('by category cover the days between two dates, with sums by method', async () => {
    const [from, to] = [bangkokDay(-100), bangkokDay(-1)]
    const expected = within(from, to)
    const { categories } = ok(await someone.api('GET', `/waste/stats/category?date_from=${from}&date_to=${to}`))
    assert.deepEqual(categories.filter(one => one.entries > 0).map(one => one.category_id).sort(), [...expected.categories.keys()].sort())
    for (const one of categories.filter(shown => shown.entries > 0)) {
      const sums = expected.categories.get(one.category_id)
      assert.deepEqual([one.entries, scaled(one.weight_kg, 3), BigInt(one.credits), scaled(one.co2e_kg, 6), scaled(one.co2e_avoided_kg, 6)],
        [sums.entries, sums.grams, sums.credits, sums.co2e, sums.avoided])
      for (const [method, shown] of Object.entries(one.methods)) {
        const own = expected.methods.get(`${one.category_id}/${method}`)
        if (shown.entries > 0) assert.deepEqual([shown.entries, scaled(shown.weight_kg, 3), BigInt(shown.credits)], [own.entries, own.grams, own.credits])
      }
    }
  })

  test('of invalid dates are refused by name', async () => {
    invalidField(await someone.api('GET', '/waste/stats/daily?date=2025-02-30'), 'date')
    invalidField(await someone.api('GET', '/waste/stats/monthly?month=2025-13'), 'month')
    invalidField(await someone.api('GET', '/waste/stats/category?date_from=x'), 'date_from')
  })

  test('in the gamification profile say total, level, progress, streak and trees', async () => {
    const shown = ok(await someone.api('GET', '/gamification/profile', { lang: 'en' }))
    const [expected, rewards] = [summaryOf(stated), rewardsOf(stated, { today: bangkokDay() })]
    const total = expected.credits + rewards.credits
    const level = levelOf(total)
    const streak = streakOf([...expected.days.keys()], bangkokDay())
    assert.deepEqual([BigInt(shown.total_credits), shown.current_level, shown.daily_streak, shown.max_streak], [total, level.level, streak.current, streak.max])
    assert.equal(shown.achievements_count, rewards.achievements.length)
    assert.equal(shown.credits_to_next_level === null ? null : BigInt(shown.credits_to_next_level), level.toNext)
    assert.ok(shown.progress_percentage >= 0 && shown.progress_percentage <= 100)
    assert.equal(shown.level_name, ['Eco Beginner', 'Green Warrior', 'Eco Champion', 'Climate Hero', 'Planet Protector'][level.level - 1])
    assert.ok(shown.level_icon.length > 0)
    assert.equal(BigInt(shown.trees_saved), level.trees)
  })

  test('of a user without entries are zero, level 1, and without a percentile', async () => {
    const nobody = await signInAnonymously()
    const shown = ok(await nobody.api('GET', '/gamification/profile'))
    assert.deepEqual([shown.total_credits, shown.current_level, shown.credits_to_next_level, shown.progress_percentage, shown.daily_streak, shown.max_streak, shown.trees_saved, shown.total_waste_kg],
      [0, 1, 100, 0, 0, 0, 0, 0])
    assert.equal(shown.rank.percentile, null)
    assert.deepEqual(ok(await nobody.api('GET', '/waste/stats/daily')).categories, {})
  })

  test('below zero are level 1 and no trees; at the top there is no next level', async () => {
    const low = await signInAnonymously()
    ok(await low.api('POST', '/waste/entries', { body: { category_id: 'plastic_bags', disposal_method: 'disposed', weight_kg: 10 } }), 201)
    const shown = ok(await low.api('GET', '/gamification/profile'))
    assert.deepEqual([shown.total_credits, shown.current_level, shown.trees_saved, shown.progress_percentage], [-670 + 10, 1, 0, 0])
    const high = await signInAnonymously()
    ok(await high.api('POST', '/waste/entries', { body: { category_id: 'plastic_bags', disposal_method: 'avoided', weight_kg: 100 } }), 201)
    const top = ok(await high.api('GET', '/gamification/profile'))
    assert.deepEqual([top.total_credits, top.current_level, top.credits_to_next_level, top.progress_percentage, top.trees_saved], [6700 + 10 + 30 + 200 + 300, 5, null, 100, 14])
  })
})

describe('boards', () => {
  after(closeSql)

  test('show equal users with one rank, the next with the rank after both, no hidden users, and masked ones without a name', async () => {
    const province = 'TH-85'
    const people = await Promise.all(Array.from({ length: 5 }, () => signInByPhone()))
    const settings = [{ display_name: 'หนึ่ง' }, { display_name: 'สอง' }, { display_name: 'สาม', privacy_level: 2 }, { display_name: 'สี่', privacy_level: 3 }, { display_name: 'ห้า', visible_in_leaderboard: false }]
    const weights = [50, 50, 40, 60, 70]
    for (const [index, one] of people.entries()) {
      ok(await one.api('PUT', '/user/profile', { body: { province, ...settings[index] } }))
      ok(await one.api('POST', '/waste/entries', { body: { category_id: 'metal_cans', disposal_method: 'sold', weight_kg: weights[index] } }), 201)
    }
    await boardsKnow()
    const first = ok(await people[0].api('GET', '/gamification/leaderboard?type=global&timeframe=all_time&limit=1')).current_user
    const rank = ok(await people[0].api('GET', '/gamification/profile')).rank
    assert.deepEqual([first.rank, first.percentile], [rank.global, rank.percentile])
    assert.ok(rank.percentile >= 0 && rank.percentile <= 100)
    for (const timeframe of ['daily', 'weekly', 'monthly', 'all_time']) {
      const board = await wholeBoard(people[0], `type=province&province=${province}&timeframe=${timeframe}`)
      board.slice(1).forEach((row, index) => {
        const above = board[index]
        assert.ok(above.credits >= row.credits)
        assert.equal(row.rank, row.credits === above.credits ? above.rank : index + 2)
      })
      const own = board.find(row => row.is_current_user)
      const twin = board.find(row => row.user_id === people[1].id)
      assert.equal(own.user_id, people[0].id)
      assert.equal(own.rank, twin.rank)
      assert.ok(board.some(row => row.masked === true && row.credits === 1600 && row.user_id === null && row.display_name === null && row.avatar_url === null))
      for (const hidden of [people[3], people[4]]) assert.ok(!board.some(row => row.user_id === hidden.id))
      const mine = ok(await people[3].api('GET', `/gamification/leaderboard?type=province&province=${province}&timeframe=${timeframe}&limit=1`))
      assert.equal(mine.current_user.credits, 2400)
      assert.equal(mine.current_user.rank, 1 + board.filter(row => row.credits > 2400).length)
    }
  })

  test('do not list anonymous users, but show them their own rank', async () => {
    const someone = await signInAnonymously()
    ok(await someone.api('POST', '/waste/entries', { body: { category_id: 'metal_cans', disposal_method: 'sold', weight_kg: 99 } }), 201)
    const board = await wholeBoard(someone, 'type=global&timeframe=daily')
    assert.ok(!board.some(row => row.user_id === someone.id || row.is_current_user))
    const { current_user } = ok(await someone.api('GET', '/gamification/leaderboard?type=global&timeframe=daily'))
    assert.equal(current_user.credits, 3960)
    assert.ok(current_user.rank >= 1)
  })

  test('refuse unknown parameters', async () => {
    const someone = await signInAnonymously()
    for (const [query, field] of [['type=village', 'type'], ['timeframe=hourly', 'timeframe'], ['limit=101', 'limit'], ['type=province&province=TH-99', 'province']]) {
      invalidField(await someone.api('GET', `/gamification/leaderboard?${query}`), field)
    }
  })

  async function wholeBoard(someone, query) {
    const rows = []
    for (let page = 1; ; page++) {
      const answer = await someone.api('GET', `/gamification/leaderboard?${query}&page=${page}&limit=100`)
      const { leaderboard } = ok(answer)
      rows.push(...leaderboard)
      if (leaderboard.length < 100) return rows
    }
  }
})

describe('the sync feed', () => {
  let someone
  before(async () => { someone = await signInAnonymously() })
  const request = (since_revision, more = {}) => someone.api('POST', '/user/sync/request', { body: { since_revision, ...more } })
  const create = async (more = {}) => ok(await someone.api('POST', '/waste/entries', { body: { category_id: 'metal_cans', disposal_method: 'sold', weight_kg: 1, ...more } }), 201)

  test('brings two devices to the same entries through creates, changes and deletions', async () => {
    const devices = [{ id: 'phone', since: 0, entries: new Map() }, { id: 'tablet', since: 0, entries: new Map() }]
    const pull = async device => {
      for (let more = true; more;) {
        const page = ok(await request(device.since, { limit: 2, device_id: device.id }))
        const revisions = page.changes.map(one => one.revision)
        assert.deepEqual(revisions, [...revisions].sort((a, b) => a - b))
        assert.ok(revisions.every(revision => revision > device.since))
        for (const change of page.changes) {
          if (change.op === 'delete') device.entries.delete(change.id)
          else { assert.equal(change.entry.revision, change.revision); device.entries.set(change.entry.id, change.entry.weight_kg) }
        }
        device.since = page.changes.at(-1)?.revision ?? page.revision
        more = page.has_more
      }
    }
    const [one, two, three] = [await create({ device_id: 'phone' }), await create(), await create()]
    await pull(devices[0])
    ok(await someone.api('PUT', `/waste/entries/${one.id}`, { body: { weight_kg: 2 } }))
    ok(await someone.api('DELETE', `/waste/entries/${two.id}`))
    await pull(devices[1])
    ok(await someone.api('PUT', `/waste/entries/${three.id}`, { body: { weight_kg: 3, logged_at: bangkokInstant(-40) } }))
    for (const device of devices) {
      await pull(device)
      assert.deepEqual([...device.entries].sort(), [[one.id, 2], [three.id, 3]].sort(), device.id)
    }
    const status = ok(await someone.api('GET', '/user/sync/status'))
    assert.deepEqual([status.revision, status.entries], [devices[0].since, 2])
    assert.ok(Date.parse(status.last_change_at) > Date.now() - 60_000)
  })

  test('shows an entry that changed twice only once, with its newest revision', async () => {
    const { revision } = ok(await someone.api('GET', '/user/sync/status'))
    const entry = await create()
    ok(await someone.api('PUT', `/waste/entries/${entry.id}`, { body: { weight_kg: 5 } }))
    const { changes } = ok(await request(revision))
    assert.deepEqual(changes.map(one => [one.op, one.entry.id, one.revision]), [['upsert', entry.id, revision + 2]])
  })

  test('answers a device that is ahead of the server with a conflict', async () => {
    refused(await request(1_000_000), 409, 'CONFLICT')
  })

  test('answers a device that is up to date with no changes', async () => {
    const { revision } = ok(await someone.api('GET', '/user/sync/status'))
    assert.deepEqual(ok(await request(revision)), { changes: [], revision, has_more: false })
  })

  for (const [body, field] of [[{}, 'since_revision'], [{ since_revision: -1 }, 'since_revision'], [{ since_revision: 'x' }, 'since_revision'], [{ since_revision: 0.5 }, 'since_revision'], [{ since_revision: 0, limit: 501 }, 'limit']]) {
    test(`${JSON.stringify(body)} is refused naming ${field}`, async () => { invalidField(await someone.api('POST', '/user/sync/request', { body }), field) })
  }

  test('records which revision each device has seen', async () => {
    const phoned = await signInByPhone()
    ok(await phoned.api('POST', '/waste/entries', { body: { category_id: 'metal_cans', disposal_method: 'sold', weight_kg: 1 } }), 201)
    ok(await phoned.api('POST', '/user/sync/request', { body: { since_revision: 1, device_id: phoned.device.device_id } }))
    const { devices } = ok(await phoned.api('GET', '/user/sync/status'))
    const [device] = devices
    assert.deepEqual([devices.length, device.device_id, device.platform, device.app_version], [1, phoned.device.device_id, 'android', '2.4.0'])
    assert.equal(device.revision_seen, 1)
  })
})
