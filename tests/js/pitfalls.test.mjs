// What went wrong in other products with streaks, days and rewards; each test is named after the case.
import { after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { bangkokDay, bangkokInstant, closeSql, differences, ok, rows, signInAnonymously, sql, sqlAs, supabase, uuid } from './lib.mjs'

const entry = (more = {}) => ({ category_id: 'food_waste', disposal_method: 'animal_feed', weight_kg: 0.1, ...more })
const profile = async someone => ok(await someone.api('GET', '/gamification/profile'))

/** A user whose profile began weeks ago, so that challenges exist for these days. */
async function oldHand() {
  const someone = await signInAnonymously()
  await sql(`update public.profiles set created_at = now() - interval '300 days' where id = $1`, [someone.id])
  return someone
}

/** Sets the person's zone. */
async function travel(someone, zone) {
  ok(await someone.api('PUT', '/user/profile', { body: { time_zone: zone } }))
}

/** The person's ledger, oldest row first. */
const ledger = someone => sql('select * from private.rewards where user_id = $1 order by number', [someone.id])
const grants = async (someone, source, id) =>
  (await ledger(someone)).filter(row => row.source === source && (id === undefined || row.source_id === id))

/** The instant of a wall-clock time in a zone, by PostgreSQL's rules. */
async function instant(day, time, zone) {
  const [{ at }] = await sql(`select (($1 || ' ' || $2)::timestamp at time zone $3) as at`, [day, time, zone])
  return at.toISOString()
}

after(closeSql)

describe('streak lost by daylight saving, travel or a changed time zone', () => {
  test('evenings and mornings across both clock changes are one run', async () => {
    const someone = await oldHand()
    const zone = 'America/New_York'
    await travel(someone, zone)
    // The clocks change on the second Sunday of March and on the first of November.
    const year = new Date().getUTCFullYear() - 1
    for (const [first, hours] of [[`${year}-03-07`, ['00:10', '23:50']], [`${year}-10-31`, ['23:50', '00:10']]]) {
      for (let day = 0; day < 8; day++) {
        const date = new Date(Date.parse(first) + day * 86_400_000).toISOString().slice(0, 10)
        const logged_at = await instant(date, hours[day % 2], zone)
        assert.equal(ok(await someone.api('POST', '/waste/entries', { body: entry({ logged_at }) }), 201).local_date, date)
      }
    }
    assert.equal((await profile(someone)).max_streak, 8)
    assert.equal((await grants(someone, 'achievement', 'daily_tracker')).length, 1)
    assert.deepEqual(await differences(someone), [])
  })

  test('another zone afterwards moves no day and revokes nothing', async () => {
    const someone = await oldHand()
    for (let back = 7; back >= 0; back--) {
      ok(await someone.api('POST', '/waste/entries', { body: entry({ logged_at: bangkokInstant(-back, '00:05:00') }) }), 201)
    }
    const [paid, reached] = [await ledger(someone), await profile(someone)]
    assert.equal(reached.max_streak, 8)
    for (const zone of ['Pacific/Pago_Pago', 'Pacific/Kiritimati', 'Europe/London', 'Asia/Bangkok']) {
      await travel(someone, zone)
      ok(await someone.api('POST', '/gamification/achievement/check', { body: {} }))
      assert.equal((await profile(someone)).max_streak, 8, zone)
      const now = await ledger(someone)
      assert.ok(now.every(row => Number(row.sequence) % 2 === 1), `${zone}: nothing is taken back`)
      assert.deepEqual(now.slice(0, paid.length), paid)
    }
    assert.equal((await profile(someone)).daily_streak, 8)
  })

  test('a flight across the date line does not break the run, because local days count', async () => {
    const someone = await oldHand()
    // Eight evenings, each in another place; Samoa and Kiritimati are 25 hours apart.
    const places = ['Pacific/Pago_Pago', 'Asia/Bangkok', 'Pacific/Kiritimati', 'Pacific/Pago_Pago', 'UTC', 'Pacific/Kiritimati', 'Asia/Kathmandu', 'America/New_York']
    for (const [index, zone] of places.entries()) {
      await travel(someone, zone)
      const day = bangkokDay(index - 12)
      const created = ok(await someone.api('POST', '/waste/entries', { body: entry({ logged_at: await instant(day, '20:00', zone) }) }), 201)
      assert.equal(created.local_date, day)
    }
    assert.equal((await profile(someone)).max_streak, 8)
    assert.deepEqual(await differences(someone), [])
  })

  test('a day that is still ahead at home counts for the run', async () => {
    const someone = await oldHand()
    await travel(someone, 'Pacific/Kiritimati')
    ok(await someone.api('POST', '/waste/entries', { body: entry() }), 201)
    await travel(someone, 'Pacific/Pago_Pago')
    assert.equal((await profile(someone)).daily_streak, 1)
  })
})

describe('two devices in different zones roll the day twice', () => {
  test('a day closes once, regardless of the calling device\'s zone, and never reopens', async () => {
    const someone = await oldHand()
    ok(await someone.api('POST', '/waste/entries', { body: entry({ logged_at: bangkokInstant(-3) }) }), 201)
    let closedThrough = ''
    for (const zone of ['Pacific/Kiritimati', 'Pacific/Pago_Pago', 'Pacific/Kiritimati', 'Asia/Bangkok']) {
      await travel(someone, zone)
      await Promise.all(Array.from({ length: 4 }, () => someone.api('POST', '/gamification/achievement/check', { body: {} })))
      const [{ days_closed_through }] = await sql('select days_closed_through from private.user_state where user_id = $1', [someone.id])
      assert.ok(days_closed_through >= closedThrough, `${days_closed_through} after ${closedThrough}`)
      closedThrough = days_closed_through
    }
    assert.equal((await grants(someone, 'achievement', 'plastic_free')).length, 1)
    assert.deepEqual(await differences(someone), [])
  })

  test('one entry from two zones at once is one entry of one day, rewarded once', async () => {
    const someone = await oldHand()
    const sent = entry({ disposal_method: 'composted', offline_id: uuid() })
    const devices = ['Pacific/Kiritimati', 'Pacific/Pago_Pago'].map(async zone => {
      const moved = await sqlAs(someone, 'select public.update_profile($1) as answer', [{ changes: { time_zone: zone } }])
      assert.ok(moved[0].answer.id)
      return sqlAs(someone, "select public.create_waste_entry(json_build_object('entry', $1::jsonb)) as answer", [sent])
    })
    const [[one], [other]] = await Promise.all(devices)
    assert.equal(one.answer.id, other.answer.id)
    assert.equal(one.answer.local_date, other.answer.local_date)
    const paid = await grants(someone, 'challenge')
    assert.deepEqual(paid.map(row => row.local_date), [one.answer.local_date])
    assert.deepEqual(await differences(someone), [])
  })
})

describe('a retry on a later day pays again', () => {
  test('the day of the entry counts, not the day of the call', async () => {
    const someone = await oldHand()
    const late = entry({ disposal_method: 'composted', logged_at: bangkokInstant(-2), offline_id: uuid() })
    const first = ok(await someone.api('POST', '/waste/entries', { body: late }), 201)
    assert.deepEqual(first.challenges_completed.map(one => one.date), [bangkokDay(-2)])
    const paid = await ledger(someone)
    const again = ok(await someone.api('POST', '/waste/entries', { body: late }))
    assert.deepEqual([again.duplicate, again.achievements_unlocked, again.challenges_completed, again.level_up], [true, [], [], null])
    // The second device is in another zone and day, and its batch has the entry once more.
    await travel(someone, 'Pacific/Kiritimati')
    const batch = ok(await someone.api('POST', '/waste/entries/batch', { body: { entries: [late, late] } }))
    assert.deepEqual([batch.duplicates, batch.achievements_unlocked], [2, []])
    assert.deepEqual(await ledger(someone), paid)
  })

  test('deleted and sent again, it stays deleted and its rewards stay revoked', async () => {
    const someone = await oldHand()
    const late = entry({ disposal_method: 'composted', logged_at: bangkokInstant(-2), offline_id: uuid() })
    const { id } = ok(await someone.api('POST', '/waste/entries', { body: late }), 201)
    ok(await someone.api('DELETE', `/waste/entries/${id}`))
    assert.equal(ok(await someone.api('POST', '/waste/entries', { body: late })).deleted, true)
    assert.equal((await profile(someone)).total_credits, 0)
    const sum = (await ledger(someone)).reduce((all, row) => all + Number(row.credits), 0)
    assert.equal(sum, 0)
  })
})

describe('one idempotency key for an entire batch, unstable when part is retried', () => {
  test('part of a batch sent again with more is counted entry by entry', async () => {
    const someone = await oldHand()
    const entries = Array.from({ length: 7 }, () => entry({ disposal_method: 'composted', offline_id: uuid() }))
    const send = (part, key) => someone.api('POST', '/waste/entries/batch', { body: { entries: part }, headers: { 'idempotency-key': key } })
    const first = ok(await send(entries.slice(0, 5), uuid()))
    assert.equal(first.created, 5)
    const second = ok(await send(entries.slice(2), uuid()))
    assert.deepEqual([second.created, second.duplicates], [2, 3])
    assert.deepEqual(second.achievements_unlocked, [])
    const sources = (await ledger(someone)).map(row => `${row.source} ${row.source_id}`)
    assert.deepEqual(sources, [...new Set(sources)], 'each source is paid once')
    assert.deepEqual(await differences(someone), [])
  })

  test('a batch through six interfaces at once is rewarded once', async () => {
    const someone = await oldHand()
    const entries = Array.from({ length: 12 }, (_, index) =>
      entry({ category_id: 'glass_bottles', disposal_method: 'recycled', weight_kg: 1, logged_at: bangkokInstant(-(index % 2)), offline_id: uuid() }))
    const ways = Array.from({ length: 3 }, () => [
      someone.api('POST', '/waste/entries/batch', { body: { entries } }).then(answer => ok(answer).created),
      supabase(someone).rpc('create_waste_entries', { entries }).then(answer => rows(answer).created),
    ]).flat()
    const created = await Promise.all(ways)
    assert.equal(created.reduce((sum, one) => sum + one), 12)
    const paid = await ledger(someone)
    const sources = paid.map(row => `${row.source} ${row.source_id}`)
    assert.deepEqual(sources, [...new Set(sources)])
    assert.equal((await profile(someone)).total_credits, 12 * 25 + paid.reduce((sum, row) => sum + Number(row.credits), 0))
  })
})

describe('nobody can see what points were for', () => {
  test('entries and the history add up to the total, each row names what and why in both languages', async () => {
    const someone = await oldHand()
    const other = await signInAnonymously()
    const ids = []
    for (let back = 0; back < 8; back++) {
      const body = entry({ disposal_method: 'composted', weight_kg: 2, logged_at: bangkokInstant(-back) })
      ids.push(ok(await someone.api('POST', '/waste/entries', { body }), 201).id)
    }
    ok(await someone.api('DELETE', `/waste/entries/${ids[3]}`))
    const client = supabase(someone)
    const history = rows(await client.from('credit_history').select().order('number'))
    const entries = rows(await client.from('waste_entries').select('carbon_credits'))
    const sum = (list, member) => list.reduce((all, one) => all + Number(one[member]), 0)
    assert.equal((await profile(someone)).total_credits, sum(entries, 'carbon_credits') + sum(history, 'credits'))
    assert.deepEqual(history.map(row => Number(row.number)), history.map((_, index) => index + 1))
    for (const row of history) {
      assert.match(row.name_th, /[\u0E00-\u0E7F]/, JSON.stringify(row))
      assert.match(row.name_en, /[A-Za-z]/, JSON.stringify(row))
      assert.ok(['granted', 'taken_back'].includes(row.event) && row.created_at, JSON.stringify(row))
    }
    const taken = history.filter(row => row.event === 'taken_back').map(row => row.source)
    assert.ok(taken.includes('achievement') && taken.includes('challenge'), `the run of seven and the day: ${taken}`)
    assert.ok(history.filter(row => row.source === 'challenge').every(row => row.local_date))
    assert.deepEqual(rows(await supabase(other).from('credit_history').select()), [])
    assert.equal((await supabase(someone).from('credit_history').insert({ credits: 1 })).status >= 400, true)
  })
})
