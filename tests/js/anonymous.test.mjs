// First without an account, later with one: an anonymous user who proves a number keeps their id if nobody has it, and
// otherwise their diary goes into its account. Nothing is lost, nothing counts twice, whatever is interrupted in between.
import { after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { createClient } from '@supabase/supabase-js'
import ws from 'ws'
import {
  api, awaitSms, bangkokDay, bangkokInstant, boardsKnow, claimsOf, closeSql, deviceInfo, differences, env, freshPhone, messages, ok, refused, rows, signInAnonymously,
  signInByPhone, sleep, sql, supabase, uuid,
} from './lib.mjs'
import { appEntry, rawDump } from './dumps.mjs'
import { rewardsOf, summaryOf } from './figures.mjs'
import { call, startWorker } from './limits-fixtures.mjs'

/** Asks for a code as this anonymous user and returns it with its otp_id. A recognised device does not wait for the resend timer. */
async function ask(someone, phone, more = {}) {
  const before = (await messages(phone.bare)).length
  const { otp_id } = ok(await api('POST', '/auth/phone-otp', { token: someone?.token, body: { phone_number: phone.typed, ...more } }))
  const { code } = await awaitSms(phone.bare, before + 1)
  return { otp_id, code }
}

const verify = (token, { otp_id, code }, headers) =>
  api('POST', '/auth/verify-otp', { token, headers, body: { otp_id, otp_code: code, device_info: deviceInfo() } })

/** A code for the number of an account, asked for on the account's own device while it was still anonymous. */
const askForAccount = (someone, account) => ask(someone, account.phone, { device_token: account.session.device_token })

const logged = (days, more = {}) => ({ category_id: 'glass_bottles', disposal_method: 'reused', weight_kg: 0.5, logged_at: bangkokInstant(-days), ...more })
const log = (someone, entries) => someone.api('POST', '/waste/entries/batch', { body: { entries } }).then(answer => assert.equal(ok(answer).errors, 0))
const counted = entry => ({ category: entry.category_id, method: entry.disposal_method, weight: entry.weight_kg, at: entry.logged_at })
const asUser = session => ({ id: claimsOf(session.access_token).sub, token: session.access_token, api: (method, route, options) => api(method, route, { token: session.access_token, ...options }) })

/** Asserts that the account has exactly these entries and what follows from them, and that nothing is left of the anonymous user. */
async function assertDiary(account, entries, { gone } = {}) {
  assert.deepEqual(await differences(account), [])
  const profile = ok(await account.api('GET', '/gamification/profile'))
  const figures = entries.map(counted)
  assert.equal(BigInt(profile.total_credits), summaryOf(figures).credits + rewardsOf(figures, { today: bangkokDay() }).credits)
  assert.equal(ok(await account.api('GET', '/user/sync/status')).entries, entries.length)
  if (gone) await assertGone(gone)
}

/** The Worker deletes the anonymous user after its answer. */
async function assertGone(someone) {
  for (let tries = 0; ; tries++) {
    const left = await sql('select u.id from auth.users u where u.id = $1', [someone.id])
    if (left.length === 0) break
    assert.ok(tries < 50, 'the anonymous user is deleted')
    await sleep(100)
  }
  assert.deepEqual(await sql('select e.id from public.waste_entries e where e.user_id = $1', [someone.id]), [])
}

describe('an anonymous person who proves a number that nobody has', () => {
  after(closeSql)

  test('keeps the id and all data, and is anonymous no longer', async () => {
    const someone = await signInAnonymously()
    const entries = [logged(0), logged(1), logged(2)]
    await log(someone, entries)
    const phone = freshPhone()
    const session = ok(await verify(someone.token, await ask(someone, phone)))
    assert.deepEqual([session.user.id, session.user.phone_number, 'merged' in session], [someone.id, phone.e164, false])
    assert.equal(claimsOf(session.access_token).is_anonymous, false)
    const account = asUser(session)
    assert.equal(ok(await account.api('GET', '/user/profile')).is_anonymous, false)
    assert.equal(ok(await account.api('GET', '/gamification/profile')).daily_streak, 3)
    await assertDiary(account, entries)
    // The session of before goes on, too.
    ok(await someone.api('GET', '/user/profile'))
    assert.equal((await signInByPhoneAgain(phone, session)).user.id, someone.id)
  })

  test('is on the boards from then on', async () => {
    const someone = await signInAnonymously()
    await log(someone, [logged(0, { category_id: 'plastic_bottles', disposal_method: 'recycled', weight_kg: 90 })])
    const other = await signInAnonymously()
    const listed = async account => {
      await boardsKnow()
      return rows(await supabase(other).rpc('get_leaderboard', { timeframe: 'daily', page_size: 100 })).leaderboard.some(row => row.user_id === account.id)
    }
    assert.equal(await listed(someone), false)
    assert.equal(await listed(asUser(ok(await verify(someone.token, await ask(someone, freshPhone()))))), true)
  })

  test('goes on with supabase-js, which gets the new session', async () => {
    const client = createClient(env.SUPABASE_URL, env.ANON_KEY, { auth: { persistSession: false, autoRefreshToken: false }, realtime: { transport: ws } })
    const anonymous = await signInAnonymously()
    const began = rows(await client.auth.setSession({ access_token: anonymous.token, refresh_token: anonymous.refreshToken }))
    assert.equal(began.user.is_anonymous, true)
    rows(await client.from('waste_entries').insert({ category_id: 'food_waste', disposal_method: 'composted', weight_kg: 1 }))
    const session = ok(await verify(anonymous.token, await ask(anonymous, freshPhone())))
    const next = rows(await client.auth.setSession({ access_token: session.access_token, refresh_token: session.refresh_token }))
    assert.deepEqual([next.user.id, next.user.is_anonymous], [anonymous.id, false])
    assert.equal(rows(await client.from('waste_entries').select('id')).length, 1)
    assert.equal(rows(await client.auth.refreshSession()).user.id, anonymous.id)
  })

  test('has Auth not asked for a code, so that nothing tells whether a number has an account', async () => {
    const [someone, account, phone] = [await signInAnonymously(), await signInByPhone(), freshPhone()]
    const codesOf = () => sql('select u.confirmation_sent_at, u.recovery_sent_at from auth.users u where u.id = $1', [account.id])
    const before = await codesOf()
    await ask(someone, phone)
    await askForAccount(someone, account)
    assert.deepEqual(await sql('select 1 from auth.users where phone = $1', [phone.bare]), [])
    assert.deepEqual(await codesOf(), before)
  })

  test('takes messages from the service\'s budget, three tenths of which are for numbers with an account', async () => {
    const account = await signInByPhone()
    const own = await startWorker({ SMS_BUDGET_PER_DAY: '10' })
    try {
      const sent = async phone => {
        const [{ token }, before] = [await signInAnonymously(), (await messages(phone.bare)).length]
        ok(await call('POST', '/auth/phone-otp', { base: own.base, token, body: { phone_number: phone.typed } }))
        await sleep(500)
        return (await messages(phone.bare)).length - before
      }
      let others = 0
      for (let n = 0; n < 8; n++) others += await sent(freshPhone())
      assert.deepEqual([others, await sent(account.phone)], [7, 1])
    } finally { await own.stop() }
  })

  test('has an earlier unverified request for the number in nobody\'s way', async () => {
    const [someone, phone] = [await signInAnonymously(), freshPhone()]
    const early = await fetch(`${env.AUTH_URL}/otp`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ phone: phone.e164, create_user: true }) })
    assert.equal(early.status, 200)
    const session = ok(await verify(someone.token, await ask(someone, phone)))
    assert.equal(session.user.id, someone.id)
  })
})

/** Signs in once more from the device that has proved the number. */
async function signInByPhoneAgain(phone, session) {
  await sleep(1100)
  return ok(await verify(undefined, await ask(undefined, phone, { device_token: session.device_token })))
}

describe('an anonymous person signs in to an account that exists: error, the diary is lost', () => {
  after(closeSql)

  test('no: the diary goes into the account, once, and equal entries count once', async () => {
    const [account, someone] = [await signInByPhone(), await signInAnonymously()]
    const shared = logged(2, { offline_id: uuid() })
    await log(account, [shared, logged(4)])
    await log(someone, [shared, logged(0), logged(1), logged(3, { offline_id: uuid() })])
    const old = appEntry(bangkokInstant(-30))
    const report = ok(await someone.api('POST', '/user/migrate-local', { body: rawDump({ wasteEntries: [old], userPreferences: { theme: 'dark' } }) }))
    ok(await someone.api('PUT', '/user/profile', { body: { display_name: 'Somchai' } }))
    const session = ok(await verify(someone.token, await askForAccount(someone, account)))
    assert.deepEqual(session.merged, { entries: 4, duplicates: 1, is_complete: true })
    assert.equal(session.user.id, account.id)
    const profile = ok(await account.api('GET', '/gamification/profile'))
    assert.equal(profile.daily_streak, 5, 'the streak is that of all days together')
    assert.equal(ok(await account.api('GET', '/user/profile')).display_name, 'Somchai')
    assert.equal(ok(await account.api('GET', '/user/profile')).theme, 'dark')
    assert.deepEqual(await differences(account), [])
    await assertGone(someone)

    const { entries } = ok(await account.api('GET', '/waste/entries?page=1&limit=100'))
    assert.equal(entries.length, 6)
    await boardsKnow()
    assert.deepEqual(await differences(account), [], 'boards included')
    const removed = ok(await account.api('DELETE', `/user/migrate-local/${report.batch_id}`))
    assert.equal(removed.removed_entries, 1, 'and what was imported can be rolled back')
    assert.equal(ok(await account.api('GET', '/user/profile')).theme, 'notebook')
    await assertDiary(account, [shared, logged(4), logged(0), logged(1), logged(3)])
  })

  test('and a second device of the account gets the entries by its next request for changes', async () => {
    const [account, someone] = [await signInByPhone(), await signInAnonymously()]
    await log(account, [logged(1)])
    const { revision } = ok(await account.api('POST', '/user/sync/request', { body: { since_revision: 0 } }))
    await log(someone, [logged(2), logged(3)])
    ok(await verify(someone.token, await askForAccount(someone, account)))
    const { changes } = ok(await account.api('POST', '/user/sync/request', { body: { since_revision: revision } }))
    assert.deepEqual(changes.map(one => [one.op, one.revision]), [['upsert', revision + 1], ['upsert', revision + 2]])
  })

  test('a person with an account who asks with an old anonymous token signs in as anybody does', async () => {
    const [someone, account] = [await signInAnonymously(), await signInByPhone()]
    const own = freshPhone()
    ok(await verify(someone.token, await ask(someone, own)))
    const session = ok(await verify(someone.token, await askForAccount(someone, account)))
    assert.deepEqual([session.user.id, 'merged' in session], [account.id, false])
  })

  test('a token whose session has ended asks for no code', async () => {
    const someone = await signInAnonymously()
    ok(await someone.api('POST', '/auth/logout'))
    refused(await api('POST', '/auth/phone-otp', { token: someone.token, body: { phone_number: freshPhone().typed } }), 401, 'AUTH_INVALID')
  })
})

describe('a code that an anonymous person asked for', () => {
  after(closeSql)

  test('works with the session that asked, and with no other', async () => {
    const [someone, other, phone] = [await signInAnonymously(), await signInAnonymously(), freshPhone()]
    const asked = await ask(someone, phone)
    refused(await verify(undefined, asked), 401, 'AUTH_INVALID')
    refused(await verify(other.token, asked), 401, 'AUTH_INVALID')
    assert.equal(ok(await verify(someone.token, asked)).user.id, someone.id)
    refused(await verify(someone.token, asked), 401, 'AUTH_INVALID')
  })

  test('verified twice at once gives one session', async () => {
    const [someone, phone] = [await signInAnonymously(), freshPhone()]
    const asked = await ask(someone, phone)
    const answers = await Promise.all([1, 2, 3].map(() => verify(someone.token, asked)))
    assert.deepEqual(answers.map(one => one.status).sort(), [200, 401, 401])
  })

  // decisions.md 18; supabase/auth #2430.
  test('of two people and one number: one keeps the id, the other merges by a code of its own, and a code of the other\'s attempt opens nothing', async () => {
    const [first, second, phone] = [await signInAnonymously(), await signInAnonymously(), freshPhone()]
    await log(first, [logged(1)])
    await log(second, [logged(2), logged(3)])
    const ofFirst = await ask(first, phone)
    await sleep(61_000)
    const ofSecond = await ask(second, phone)
    refused(await verify(first.token, { ...ofFirst, code: ofSecond.code }), 401, 'AUTH_INVALID')
    refused(await verify(second.token, { ...ofSecond, code: ofFirst.code }), 401, 'AUTH_INVALID')
    refused(await verify(second.token, ofFirst), 401, 'AUTH_INVALID')
    const kept = ok(await verify(second.token, ofSecond))
    assert.deepEqual([kept.user.id, 'merged' in kept], [second.id, false])
    const merged = ok(await verify(first.token, ofFirst))
    assert.deepEqual([merged.user.id, merged.merged], [second.id, { entries: 1, duplicates: 0, is_complete: true }])
    await assertDiary(asUser(merged), [logged(1), logged(2), logged(3)], { gone: first })
  })
})

describe('interrupted between any two steps and repeated, signing in gives the same', () => {
  after(closeSql)
  const stops = ['stop-after-number', 'stop-after-session', 'stop-after-merge']

  for (const stop of stops) {
    test(`to a number that nobody has: ${stop}`, async () => {
      const [someone, phone] = [await signInAnonymously(), freshPhone()]
      await log(someone, [logged(1), logged(2)])
      const asked = await ask(someone, phone)
      refused(await verify(someone.token, asked, { 'x-carbon-fault': stop }), 503, 'SERVICE_UNAVAILABLE')
      const session = ok(await verify(someone.token, asked))
      assert.deepEqual([session.user.id, 'merged' in session], [someone.id, false])
      await assertDiary(asUser(session), [logged(1), logged(2)])
    })

    test(`to an account: ${stop}`, async () => {
      const [account, someone] = [await signInByPhone(), await signInAnonymously()]
      const shared = logged(3, { offline_id: uuid() })
      await log(account, [shared])
      await log(someone, [logged(1), shared, logged(2)])
      const asked = await askForAccount(someone, account)
      refused(await verify(someone.token, asked, { 'x-carbon-fault': stop }), 503, 'SERVICE_UNAVAILABLE')
      const session = ok(await verify(someone.token, asked))
      assert.deepEqual([session.user.id, session.merged], [account.id, { entries: 2, duplicates: 1, is_complete: true }])
      await assertDiary(account, [logged(1), logged(2), shared], { gone: someone })
    })
  }

  test('when only the answer was lost: the anonymous session has ended, and the account has everything', async () => {
    const [account, someone] = [await signInByPhone(), await signInAnonymously()]
    await log(someone, [logged(1)])
    const asked = await askForAccount(someone, account)
    refused(await verify(someone.token, asked, { 'x-carbon-fault': 'stop-after-use' }), 503, 'SERVICE_UNAVAILABLE')
    refused(await verify(someone.token, asked), 401, 'AUTH_INVALID')
    refused(await api('POST', '/auth/phone-otp', { token: someone.token, body: { phone_number: account.phone.typed } }), 401, 'AUTH_INVALID')
    await assertDiary(account, [logged(1)], { gone: someone })
  })
})

describe('a merge in the database', () => {
  after(closeSql)
  const merge = (from, into) => sql('select public.merge_accounts($1, $2) as answer', [from.id, into.id]).then(([row]) => row.answer)

  test('ten times at once happens once', async () => {
    const [account, someone] = [await signInByPhone(), await signInAnonymously()]
    await log(someone, Array.from({ length: 30 }, (_, index) => logged(index)))
    const answers = await Promise.all(Array.from({ length: 10 }, () => merge(someone, account)))
    for (const answer of answers) assert.deepEqual(answer, { entries: 30, duplicates: 0, is_complete: true })
    assert.deepEqual(await differences(account), [])
  })

  test('while both write loses nothing: what came too late is refused, not forgotten', async () => {
    const [account, someone] = [await signInByPhone(), await signInAnonymously()]
    await log(someone, Array.from({ length: 20 }, (_, index) => logged(index)))
    const writes = user => Array.from({ length: 15 }, (_, index) => user.api('POST', '/waste/entries', { body: logged(index) }))
    const [answer, ...answers] = await Promise.all([merge(someone, account), ...writes(someone), ...writes(account)])
    const [late, own] = [answers.slice(0, 15), answers.slice(15)]
    assert.ok(own.every(one => one.status === 201), own.map(one => one.status).join())
    assert.ok(late.every(one => one.status === 201 || one.status === 401), late.map(one => one.status).join())
    const taken = late.filter(one => one.status === 201).length
    assert.deepEqual(answer, { entries: 20 + taken, duplicates: 0, is_complete: true })
    assert.equal(ok(await account.api('GET', '/user/sync/status')).entries, 20 + taken + 15)
    assert.deepEqual(await differences(account), [])
  })

  test('killed at any moment leaves all or nothing, and the next one finishes it', async () => {
    const [account, someone] = [await signInByPhone(), await signInAnonymously()]
    const entries = Array.from({ length: 400 }, (_, index) => logged(index % 300, { offline_id: uuid() }))
    await log(someone, entries)
    const expected = { entries: 400, duplicates: 0, is_complete: true }
    for (const wait of [5, 15, 30, 60]) {
      const killed = merge(someone, account).catch(error => error)
      await sleep(wait)
      await sql(`select pg_terminate_backend(a.pid) from pg_stat_activity a where a.query like 'select public.merge_accounts($1%' and a.state = 'active' and a.pid <> pg_backend_pid()`)
      await killed
      const [{ here, there }] = await sql(`select count(*) filter (where e.user_id = $1)::int as here, count(*) filter (where e.user_id = $2)::int as there
        from public.waste_entries e where e.user_id in ($1, $2)`, [someone.id, account.id])
      assert.ok((here === 400 && there === 0) || (here === 0 && there === 400), `${here} and ${there}`)
      assert.deepEqual(await differences(account), [])
      assert.deepEqual(await differences(someone), [])
    }
    assert.deepEqual(await merge(someone, account), expected)
    assert.equal((await supabase(account).from('waste_entries').select('id', { count: 'exact', head: true })).count, 400)
    assert.deepEqual(await differences(account), [])
  })

  test('whose anonymous user the Worker did not delete is ended by the job', async () => {
    const [account, someone] = [await signInByPhone(), await signInAnonymously()]
    await log(someone, [logged(1)])
    await merge(someone, account)
    await sql(`update private.merges set started_at = now() - interval '2 minutes' where from_id = $1`, [someone.id])
    await sql('select private.continue_merges(1000)')
    await assertGone(someone)
    assert.deepEqual(await merge(someone, account), { entries: 1, duplicates: 0, is_complete: true }, 'a repetition is still answered')
  })
})
