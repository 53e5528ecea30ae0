// Achievements and challenges over the edge: what a create earns, what is revoked, what signed-out visitors see, and that no
// claim of a client counts.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import pg from 'pg'
import { api, bangkokDay, bangkokInstant, closeSql, differences, env, invalidField, ok, refused, signInAnonymously, sql, uuid } from './lib.mjs'
import { ACHIEVEMENTS, CHALLENGES, rewardsOf } from './figures.mjs'

const THAI = /[\u0E00-\u0E7F]/
const entry = (more = {}) => ({ category_id: 'glass_bottles', disposal_method: 'reused', weight_kg: 0.5, ...more })
const create = async (someone, more = {}, options = {}) => ok(await someone.api('POST', '/waste/entries', { body: entry(more), ...options }), 201)
const today = async (someone, options) => ok(await someone.api('GET', '/gamification/challenges/today', options))
const challenge = async (someone, type) => (await today(someone)).challenges.find(one => one.challenge_type === type)
const achievements = async (someone, options) => ok(await someone.api('GET', '/gamification/achievements', options))
const held = async someone => (await achievements(someone)).achievements.filter(one => one.unlocked).map(one => one.id).sort()
const total = async someone => ok(await someone.api('GET', '/gamification/profile')).total_credits
const maxAge = answer => Number(/^public, max-age=(\d+)$/.exec(answer.headers.get('cache-control'))?.[1])
const ids = list => list.map(one => one.id ?? one.challenge_type)
const types = list => list.map(one => one.challenge_type).sort()
/** Asserts that names are in one language: no member has a language in its name. */
const oneLanguage = answer => assert.doesNotMatch(answer.text, /_(th|en)"/)

describe('signed-out visitors', () => {
  after(closeSql)

  test('see the achievements in their language, for six hours', async () => {
    const seen = {}
    for (const lang of ['th', 'en']) {
      const answer = await api('GET', '/gamification/achievements', { lang })
      oneLanguage(answer)
      const left = maxAge(answer)
      assert.ok(left > 0 && left <= 6 * 3600, `${left} s`)
      assert.match(answer.headers.get('vary'), /Accept-Language, Authorization/)
      const list = ok(answer).achievements
      for (const expected of ACHIEVEMENTS) {
        const shown = list.find(one => one.id === expected.id)
        assert.deepEqual(Object.keys(shown).sort(), ['credits_reward', 'criteria', 'description', 'icon', 'id', 'name'])
        assert.equal(shown.credits_reward, expected.reward, expected.id)
        for (const text of [shown.name, shown.description]) assert.equal(THAI.test(text), lang === 'th', text)
      }
      seen[lang] = list
      const tag = answer.headers.get('etag')
      const notModified = await api('GET', '/gamification/achievements', { lang, headers: { 'if-none-match': tag } })
      assert.deepEqual([notModified.status, notModified.text, notModified.headers.get('etag')], [304, '', tag])
      ok(await api('GET', '/gamification/achievements', { lang: lang === 'th' ? 'en' : 'th', headers: { 'if-none-match': tag } }))
    }
    assert.deepEqual(ids(seen.th), ids(seen.en))
    assert.equal(seen.en.find(one => one.id === 'first_scan').name, 'First Step')
    assert.equal(seen.th.find(one => one.id === 'first_scan').name, 'ก้าวแรก')
  })

  test('see the challenges of the day in Bangkok, until it ends', async () => {
    for (const lang of ['th', 'en']) {
      const answer = await api('GET', '/gamification/challenges/today', { lang })
      oneLanguage(answer)
      const midnight = Date.parse(`${bangkokDay(1)}T00:00:00+07:00`)
      assert.ok(Math.abs(maxAge(answer) - (midnight - Date.now()) / 1000) < 5, answer.headers.get('cache-control'))
      const shown = ok(answer)
      assert.equal(shown.date, bangkokDay())
      for (const expected of CHALLENGES) {
        const one = shown.challenges.find(found => found.challenge_type === expected.type)
        assert.deepEqual(Object.keys(one).sort(), ['challenge_type', 'credits_reward', 'criteria', 'description', 'icon', 'id', 'target_value', 'title'])
        assert.deepEqual([one.credits_reward, one.target_value], [expected.reward, expected.atLeast])
        assert.equal(THAI.test(one.title) && THAI.test(one.description), lang === 'th')
      }
    }
  })

  test('see both from the cache while the database is stuck; a signed-in user gets 503 with Retry-After', async () => {
    const someone = await signInAnonymously()
    const before = await Promise.all(['/gamification/achievements', '/gamification/challenges/today'].map(route => api('GET', route, { lang: 'en' })))
    before.forEach(answer => ok(answer))
    await new Promise(resolve => setTimeout(resolve, 300))
    const holder = new pg.Client({ connectionString: env.DB_URL })
    await holder.connect()
    try {
      await holder.query('begin')
      await holder.query('lock table public.achievements, public.daily_challenges, public.user_days in access exclusive mode')
      const [list, day, own, ownDay, history] = await Promise.all([
        api('GET', '/gamification/achievements', { lang: 'en' }), api('GET', '/gamification/challenges/today', { lang: 'en' }),
        someone.api('GET', '/gamification/achievements'), someone.api('GET', '/gamification/challenges/today'), someone.api('GET', '/gamification/challenges/history'),
      ])
      assert.deepEqual([ok(list), ok(day)], before.map(answer => answer.data))
      for (const answer of [own, ownDay, history]) {
        refused(answer, 503, 'SERVICE_UNAVAILABLE')
        assert.ok(Number(answer.headers.get('retry-after')) > 0)
      }
    } finally {
      await holder.query('rollback')
      await holder.end()
    }
  })

  test('must sign in for everything else', async () => {
    refused(await api('GET', '/gamification/challenges/history'), 401, 'AUTH_REQUIRED')
    for (const route of ['/gamification/achievement/check', '/gamification/challenges/progress']) refused(await api('POST', route), 401, 'AUTH_REQUIRED')
    for (const route of ['/gamification/achievements', '/gamification/challenges/today']) refused(await api('GET', route, { token: 'x' }), 401, 'AUTH_INVALID')
  })

  test('are answered the allowed methods of each path', async () => {
    for (const [method, route, allow] of [['POST', '/gamification/achievements', 'GET, HEAD, OPTIONS'], ['GET', '/gamification/achievement/check', 'POST, OPTIONS'],
      ['DELETE', '/gamification/challenges/today', 'GET, HEAD, OPTIONS'], ['PUT', '/gamification/challenges/history', 'GET, HEAD, OPTIONS'], ['GET', '/gamification/challenges/progress', 'POST, OPTIONS']]) {
      const answer = await api(method, route)
      refused(answer, 405, 'METHOD_NOT_ALLOWED')
      assert.equal(answer.headers.get('allow'), allow, route)
    }
    const head = await api('HEAD', '/gamification/achievements')
    assert.deepEqual([head.status, head.text], [200, ''])
  })
})

describe('a create', () => {
  after(closeSql)

  for (const [lang, name, title] of [['th', 'ก้าวแรก', 'นักรีไซเคิลประจำวัน'], ['en', 'First Step', 'Daily Recycler']]) {
    test(`answers in ${lang} what it unlocks and completes, once`, async () => {
      const someone = await signInAnonymously()
      const answer = await someone.api('POST', '/waste/entries', { body: entry({ disposal_method: 'recycled' }), lang })
      const made = ok(answer, 201)
      oneLanguage(answer)
      assert.deepEqual(made.achievements_unlocked, [{ id: 'first_scan', name, icon: '🎯', credits_reward: 10 }])
      assert.deepEqual(made.challenges_completed.map(({ id, ...rest }) => rest), [{ challenge_type: 'recycle_something', title, icon: '♻️', credits_reward: 15, date: bangkokDay() }])
      assert.match(made.challenges_completed[0].id, /^[0-9a-f-]{36}$/)
      assert.deepEqual([made.level_up, made.streak], [null, { current: 1, max: 1 }])
      assert.equal(await total(someone), made.carbon_credits + 10 + 15)
      const next = await create(someone, { disposal_method: 'recycled' }, { lang })
      assert.deepEqual([next.achievements_unlocked, next.challenges_completed], [[], []])
      assert.deepEqual(await differences(someone), [])
    })
  }

  test('raises the level by the total, rewards included', async () => {
    const someone = await signInAnonymously()
    // Its own 40 points, and first_scan, compost_master and compost_organic: 150 in all.
    const made = await create(someone, { category_id: 'food_waste', disposal_method: 'composted', weight_kg: 1.8 })
    assert.deepEqual([made.carbon_credits, made.level_up], [40, { from: 1, to: 2 }])
    assert.deepEqual(ids(made.achievements_unlocked).sort(), ['compost_master', 'first_scan'])
    const profile = ok(await someone.api('GET', '/gamification/profile'))
    assert.deepEqual([profile.total_credits, profile.current_level, profile.achievements_count], [150, 2, 2])
  })

  test('completes scan_5_items as the fifth of a day; a deletion revokes it, another create grants it again', async () => {
    const someone = await signInAnonymously()
    const made = []
    for (let count = 1; count <= 5; count++) {
      const one = await create(someone)
      made.push(one)
      assert.deepEqual(types(one.challenges_completed), count === 5 ? ['scan_5_items'] : [])
      const shown = await challenge(someone, 'scan_5_items')
      assert.deepEqual([shown.progress, shown.completed, shown.credits_earned], [count, count === 5, count === 5 ? 20 : 0])
      assert.equal(shown.completed_at !== null, count === 5)
    }
    const own = made.reduce((sum, one) => sum + one.carbon_credits, 0)
    assert.equal(await total(someone), own + 10 + 20)
    ok(await someone.api('DELETE', `/waste/entries/${made[4].id}`))
    const shown = await challenge(someone, 'scan_5_items')
    assert.deepEqual([shown.progress, shown.completed, shown.completed_at, shown.credits_earned], [4, false, null, 0])
    assert.equal(await total(someone), own - made[4].carbon_credits + 10)
    const again = await create(someone)
    assert.deepEqual(types(again.challenges_completed), ['scan_5_items'])
    assert.equal(await total(someone), own + 10 + 20)
    assert.deepEqual(await differences(someone), [])
  })

  test('that is rolled back leaves nothing unlocked', async () => {
    const someone = await signInAnonymously()
    const made = await create(someone)
    assert.deepEqual(await held(someone), ['first_scan'])
    ok(await someone.api('DELETE', `/waste/entries/${made.id}`))
    assert.deepEqual([await held(someone), await total(someone)], [[], 0])
    const list = (await achievements(someone)).achievements
    assert.deepEqual(list.find(one => one.id === 'first_scan').progress, { value: 0, at_least: 1, percentage: 0 })
    assert.deepEqual(ids((await create(someone)).achievements_unlocked), ['first_scan'])
  })

  test('sent again pays nothing again, by key and by offline_id', async () => {
    const someone = await signInAnonymously()
    const [key, offline_id] = [uuid(), uuid()]
    const send = lang => someone.api('POST', '/waste/entries', { body: entry({ offline_id }), lang, headers: { 'idempotency-key': key } })
    const [first, again] = [await send('th'), await send('en')]
    assert.equal(again.headers.get('idempotent-replayed'), 'true')
    assert.deepEqual([ok(first, 201).achievements_unlocked[0].name, ok(again, 201).achievements_unlocked[0].name], ['ก้าวแรก', 'First Step'])
    const duplicate = ok(await someone.api('POST', '/waste/entries', { body: entry({ offline_id }) }))
    assert.deepEqual([duplicate.duplicate, duplicate.achievements_unlocked, duplicate.challenges_completed, duplicate.level_up], [true, [], [], null])
    assert.equal(await total(someone), duplicate.carbon_credits + 10)
    const [{ rows }] = await sql('select count(*)::int as rows from private.rewards where user_id = $1', [someone.id])
    assert.equal(rows, 1)
  })

  test('of a batch answers what all of its entries earn', async () => {
    const someone = await signInAnonymously()
    const entries = Array.from({ length: 10 }, () => entry({ disposal_method: 'recycled', offline_id: uuid() }))
    const send = lang => someone.api('POST', '/waste/entries/batch', { body: { entries }, lang })
    const answer = await send('en')
    const made = ok(answer)
    oneLanguage(answer)
    assert.deepEqual(ids(made.achievements_unlocked).sort(), ['first_scan', 'recycling_hero'])
    assert.deepEqual(types(made.challenges_completed), ['recycle_something', 'scan_5_items'])
    assert.equal(made.challenges_completed.find(one => one.challenge_type === 'scan_5_items').title, 'Daily Scanner')
    const profile = ok(await someone.api('GET', '/gamification/profile'))
    assert.equal(profile.total_credits, made.total_credits_earned + 10 + 100 + 15 + 20)
    assert.deepEqual(made.level_up, profile.current_level > 1 ? { from: 1, to: profile.current_level } : null)
    const again = ok(await send('en'))
    assert.deepEqual([again.duplicates, again.achievements_unlocked, again.challenges_completed, again.level_up], [10, [], [], null])
    assert.equal(await total(someone), profile.total_credits)
    assert.deepEqual(await differences(someone), [])
  })
})

describe('an imported diary', () => {
  after(closeSql)

  test('earns achievements, never challenges, and its roll-back revokes them', async () => {
    const someone = await signInAnonymously()
    const moved = Array.from({ length: 8 }, (_, index) => ({ category: 'food_waste', method: 'composted', weight: 0.25, at: bangkokInstant(-index, '00:00:01'), moved: true }))
    const waste_entries = moved.map(one => ({ category_id: one.category, disposal_method: one.method, weight_kg: one.weight, logged_at: one.at }))
    const report = ok(await someone.api('POST', '/user/migrate-local', { body: { waste_entries } }))
    const expected = rewardsOf(moved, { today: bangkokDay() })
    assert.deepEqual([...report.achievements_granted].sort(), expected.achievements)
    assert.deepEqual(expected.achievements, ['compost_master', 'daily_tracker', 'first_scan', 'plastic_free'])
    assert.equal(BigInt(await total(someone)), BigInt(report.credits_imported) + expected.credits)
    assert.ok((await today(someone)).challenges.every(one => one.progress === 0 && !one.completed))
    assert.deepEqual(ok(await someone.api('GET', '/gamification/challenges/history')).history, [])
    ok(await someone.api('DELETE', `/user/migrate-local/${report.batch_id}`))
    assert.deepEqual([await held(someone), await total(someone)], [[], 0])
    assert.deepEqual(await differences(someone), [])
  })
})

describe('a person', () => {
  let someone
  before(async () => { someone = await signInAnonymously() })
  after(closeSql)

  test('sees every achievement with progress, in each language, and the next answer after a create', async () => {
    const other = await signInAnonymously()
    const none = await other.api('GET', '/gamification/achievements', { lang: 'en' })
    assert.equal(none.headers.get('cache-control'), 'private, no-cache')
    assert.deepEqual([ok(none).unlocked_count, none.data.total_count], [0, none.data.achievements.length])
    await create(other, { category_id: 'food_waste', disposal_method: 'composted', weight_kg: 0.755 })
    const then = await other.api('GET', '/gamification/achievements', { lang: 'en', headers: { 'if-none-match': none.headers.get('etag') } })
    oneLanguage(then)
    const shown = Object.fromEntries(ok(then).achievements.map(one => [one.id, one]))
    assert.equal(then.data.unlocked_count, 1)
    assert.deepEqual([shown.first_scan.unlocked, shown.first_scan.progress], [true, { value: 1, at_least: 1, percentage: 100 }])
    assert.ok(Math.abs(Date.parse(shown.first_scan.unlocked_at) - Date.now()) < 60_000)
    assert.deepEqual([shown.compost_master.unlocked, shown.compost_master.unlocked_at, shown.compost_master.progress], [false, null, { value: 0.755, at_least: 1, percentage: 75 }])
    assert.deepEqual(ids((await achievements(other, { lang: 'th' })).achievements), ids(then.data.achievements))
  })

  test('sees the challenges of the present day in their own time zone', async () => {
    const zone = ['Pacific/Kiritimati', 'Pacific/Pago_Pago'].find(name => new Intl.DateTimeFormat('en-CA', { timeZone: name }).format() !== bangkokDay())
    const traveller = await signInAnonymously()
    assert.equal((await today(traveller)).date, bangkokDay())
    await sql(`update public.profiles set created_at = created_at - interval '2 days' where id = $1`, [traveller.id])
    ok(await traveller.api('PUT', '/user/profile', { body: { time_zone: zone } }))
    const there = await today(traveller)
    assert.equal(there.date, new Intl.DateTimeFormat('en-CA', { timeZone: zone }).format())
    assert.deepEqual(types(there.challenges), CHALLENGES.map(one => one.type).sort())
  })

  test('sees which criteria are met and what is missing', async () => {
    const other = await signInAnonymously()
    await create(other, { logged_at: bangkokInstant(-1) })
    const answer = await other.api('POST', '/gamification/achievement/check', { lang: 'en' })
    const checked = ok(answer)
    oneLanguage(answer)
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    assert.deepEqual([[...checked.met].sort(), checked.taken_back], [['first_scan', 'plastic_free'], []])
    assert.deepEqual([...checked.met, ...ids(checked.missing)].sort(), ids((await achievements(other)).achievements).sort())
    assert.deepEqual(checked.missing.find(one => one.id === 'daily_tracker').progress, { value: 1, at_least: 7, percentage: 14 })
    assert.deepEqual(await held(other), ['first_scan', 'plastic_free'])
  })

  for (const route of ['/gamification/achievement/check', '/gamification/challenges/progress']) {
    test(`cannot claim anything to ${route}`, async () => {
      await create(someone)
      const before = [await total(someone), await today(someone), await held(someone)]
      for (const options of [{}, { raw: '' }, { body: {} }]) ok(await someone.api('POST', route, options))
      for (const [body, fields] of [[{ challenge_id: uuid(), progress: 99 }, ['challenge_id', 'progress']], [{ user_id: uuid() }, ['user_id']], [{ x: null }, ['x']]]) {
        const error = refused(await someone.api('POST', route, { body }), 400, 'VALIDATION_ERROR')
        assert.deepEqual(error.details.fields.map(one => [one.field, one.code]), fields.map(field => [field, 'unknown_field']))
      }
      for (const raw of ['[]', '1', 'null', '{']) refused(await someone.api('POST', route, { raw }), 400, 'VALIDATION_ERROR')
      assert.deepEqual([await total(someone), await today(someone), await held(someone)], before)
    })

    test(`runs ${route} once for an idempotency key`, async () => {
      const [key, options] = [uuid(), { body: {} }]
      const send = () => someone.api('POST', route, { ...options, headers: { 'idempotency-key': key } })
      const [first, again] = [await send(), await send()]
      assert.deepEqual(ok(again), ok(first))
      assert.deepEqual([first, again].map(one => one.headers.get('idempotent-replayed')), [null, 'true'])
    })
  }

  test('sees the same challenges after a recomputation', async () => {
    await create(someone)
    const answer = await someone.api('POST', '/gamification/challenges/progress', { lang: 'en' })
    oneLanguage(answer)
    const { newly_completed, ...refreshed } = ok(answer)
    assert.deepEqual(newly_completed, [])
    assert.deepEqual(refreshed, await today(someone, { lang: 'en' }))
  })

  test('sees an operator\'s new achievement and challenge at once, and no longer after they end', async () => {
    const [id, type] = [`test_${uuid().slice(0, 8)}`, `test_${uuid().slice(0, 8)}`]
    const tags = await Promise.all(['/gamification/achievements', '/gamification/challenges/today'].map(async route => (await someone.api('GET', route)).headers.get('etag')))
    const ask = (route, tag) => someone.api('GET', route, { lang: 'th', headers: { 'if-none-match': tag } })
    await sql(`insert into public.achievements (id, name_th, name_en, description_th, description_en, icon, credits_reward, criteria)
      values ($1, 'ทดสอบ', 'Test', 'ทดสอบ', 'Test', '🧪', 1, '{"metric": "total_entries", "at_least": 1000000}')`, [id])
    await sql(`insert into public.challenge_types (id, title_th, title_en, description_th, description_en, icon, credits_reward, criteria, starts_on)
      values ($1, 'ท้า', 'Dare', 'ท้า', 'Dare', '🧪', 1, '{"metric": "entries_today", "at_least": 1000}', $2)`, [type, bangkokDay()])
    try {
      const shown = ok(await ask('/gamification/achievements', tags[0])).achievements.find(one => one.id === id)
      assert.deepEqual([shown.name, shown.unlocked, shown.progress.at_least], ['ทดสอบ', false, 1_000_000])
      const asked = ok(await ask('/gamification/challenges/today', tags[1])).challenges.find(one => one.challenge_type === type)
      assert.deepEqual([asked.title, asked.target_value, asked.completed], ['ท้า', 1000, false])
    } finally {
      await sql('delete from public.achievements where id = $1', [id])
      await sql('delete from public.daily_challenges where challenge_type = $1', [type])
      await sql('delete from public.challenge_types where id = $1', [type])
    }
    assert.ok(!ids((await achievements(someone)).achievements).includes(id))
    assert.ok(!types((await today(someone)).challenges).includes(type))
  })
})

describe('the history of challenges', () => {
  let someone, all
  const days = [0, -1, -2, -4, -5, -8]
  const page = query => someone.api('GET', `/gamification/challenges/history?${query}`)
  before(async () => {
    someone = await signInAnonymously()
    await sql(`update public.profiles set created_at = created_at - interval '6 days' where id = $1`, [someone.id])
    for (const day of days) await create(someone, { disposal_method: 'recycled', logged_at: bangkokInstant(day, '09:00:00') })
    all = ok(await page('limit=100')).history
  })
  after(closeSql)

  test('shows the days with entries since the profile began, newest first', async () => {
    const expected = days.slice(0, 5).map(offset => bangkokDay(offset))
    assert.deepEqual([...new Set(all.map(one => one.date))], expected)
    assert.equal(all.length, expected.length * CHALLENGES.length)
    for (const one of all) {
      const recycled = one.challenge_type === 'recycle_something'
      const counts = recycled || one.challenge_type === 'scan_5_items'
      assert.deepEqual([one.progress, one.completed, one.completed_at !== null, one.credits_earned], [counts ? 1 : 0, recycled, recycled, recycled ? 15 : 0], JSON.stringify(one))
      assert.deepEqual(Object.keys(one).sort(), ['challenge_type', 'completed', 'completed_at', 'credits_earned', 'date', 'icon', 'id', 'progress', 'target_value', 'title'])
    }
    assert.equal(new Set(all.map(one => one.id)).size, all.length)
    assert.deepEqual(await differences(someone), [])
  })

  test('comes in pages of days without a gap or a repeat', async () => {
    for (const limit of [1, 2, 5, 100]) {
      const seen = []
      let [cursor, pages] = [null, 0]
      do {
        const answer = await page(`limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)
        oneLanguage(answer)
        seen.push(...ok(answer).history)
        pages++
        assert.equal(answer.meta.limit, limit)
        cursor = answer.meta.next_cursor
      } while (cursor)
      assert.deepEqual([seen, pages], [all, Math.ceil(5 / limit)], `by ${limit} days`)
    }
  })

  test('is twenty days without parameters, in the caller\'s language', async () => {
    const [thai, english] = await Promise.all(['th', 'en'].map(lang => someone.api('GET', '/gamification/challenges/history', { lang })))
    assert.deepEqual([ok(thai).history.length, thai.meta.limit, ok(english).history.length], [all.length, 20, all.length])
    assert.ok(thai.data.history.every(one => THAI.test(one.title)))
    assert.ok(english.data.history.every(one => !THAI.test(one.title)))
  })

  test('refuses invalid limits and cursors', async () => {
    for (const [query, field] of [['limit=0', 'limit'], ['limit=101', 'limit'], ['limit=x', 'limit'], ['cursor=nonsense', 'cursor'], [`cursor=${'x'.repeat(600)}`, 'cursor'], ['limit=1&limit=2', 'limit']]) {
      invalidField(await page(query), field)
    }
  })

  test('shows one\'s own challenges only', async () => {
    const other = await signInAnonymously()
    const { meta } = await page('limit=1')
    const answer = await other.api('GET', `/gamification/challenges/history?limit=100&cursor=${encodeURIComponent(meta.next_cursor)}`)
    assert.deepEqual(ok(answer).history, [])
    assert.deepEqual(ok(await other.api('GET', '/gamification/challenges/history')).history, [])
  })
})
