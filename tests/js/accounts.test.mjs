// The beginning and end of an account: its rows are created with the first verified code and deleted with the account. Also
// the repair of sums that were tampered with.
import { after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import {
  api, awaitSms, bangkokInstant, claimsOf, closeSql, deviceInfo, differences, env, freshPhone, messages, ok, refused, rows, serviceClient, signInAnonymously, signInByPhone, signToken, sleep, sql, supabase, uuid, boardsKnow,
} from './lib.mjs'
import { appEntry, rawDump } from './dumps.mjs'

const asService = (method, path, headers = {}) => fetch(`${env.SUPABASE_URL}/auth/v1${path}`, {
  method, headers: { apikey: env.SERVICE_ROLE_KEY, authorization: `Bearer ${env.SERVICE_ROLE_KEY}`, 'x-edge-secret': env.EDGE_SECRET, ...headers },
})

/** The number of the person's rows in each table. */
async function rowsOf(id) {
  const owned = await sql(`select format('%I.%I', table_schema, table_name) as name from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
    where table_schema in ('public', 'private') and column_name = 'user_id' and t.table_type = 'BASE TABLE' and table_name !~ '_y\\d{4}m\\d\\d$|_default$|_p\\d+$|audit'`)
  const counts = {}
  for (const { name } of owned) counts[name] = Number((await sql(`select count(*) as n from ${name} where user_id = $1`, [id]))[0].n)
  counts['public.profiles'] = Number((await sql('select count(*) as n from public.profiles where id = $1', [id]))[0].n)
  return counts
}

/** The same without the boards, which receive changes a moment later. */
const rowsBesideBoards = async id => Object.entries(await rowsOf(id)).filter(([name]) => !name.startsWith('private.board_'))

/** Asserts that nothing is left of the person once the boards have the deletion. */
async function assertNothingLeft(id) {
  for (let tries = 0; ; tries++) {
    rows(await serviceClient().rpc('refresh_leaderboards', { max_users: 1 }))
    const left = Object.entries(await rowsOf(id)).filter(([, count]) => count > 0)
    if (left.length === 0) return
    assert.ok(tries < 20 && left.every(([name]) => name.startsWith('private.board_')), JSON.stringify(left))
    await sleep(200)
  }
}

describe('the beginning', () => {
  after(closeSql)

  test('a number that only requested a code has no profile; it has one once the code is verified', async () => {
    const phone = freshPhone()
    const requested = ok(await api('POST', '/auth/phone-otp', { body: { phone_number: phone.typed } }))
    const { code } = await awaitSms(phone.bare)
    const profiles = () => sql('select p.id from public.profiles p join auth.users u on u.id = p.id where u.phone = $1', [phone.bare])
    assert.deepEqual(await profiles(), [])
    const { user } = ok(await api('POST', '/auth/verify-otp', { body: { otp_id: requested.otp_id, otp_code: code, device_info: deviceInfo() } }))
    assert.deepEqual((await profiles()).map(one => one.id), [user.id])
  })

  test('an anonymous person has a profile at once', async () => {
    const someone = await signInAnonymously()
    assert.equal(ok(await someone.api('GET', '/user/profile')).is_anonymous, true)
  })
})

describe('a session that has ended', () => {
  after(closeSql)
  const logging = { category_id: 'food_waste', disposal_method: 'reduced', weight_kg: 1 }

  /** Asserts that the person's token is refused everywhere: by the Worker, by rpc, by REST, and as the very first request. */
  async function assertShut(someone) {
    for (const answer of [await someone.api('GET', '/user/profile'), await someone.api('POST', '/waste/entries', { body: logging }),
      await someone.api('POST', '/waste/entries', { body: logging, headers: { 'idempotency-key': uuid() } })]) {
      refused(answer, 401, 'AUTH_INVALID')
    }
    const client = supabase(someone)
    for (const answer of [await client.from('profiles').select('*'), await client.from('waste_entries').insert(logging), await client.rpc('sync_status'),
      await client.rpc('create_waste_entry', { entry: logging }), await client.from('waste_factors').select('*').limit(1)]) {
      assert.deepEqual([answer.status, answer.error?.code, answer.error?.details], [401, 'PT401', 'carbon.session_ended'], JSON.stringify(answer))
    }
  }

  /** The same person with another session. */
  async function withAnother(someone) {
    const session_id = uuid()
    await sql('insert into auth.sessions (id, user_id, created_at, updated_at) values ($1, $2, now(), now())', [session_id, someone.id])
    const token = signToken({ ...someone.claims, session_id })
    return { ...someone, token, api: (method, route) => api(method, route, { token }) }
  }

  test('is refused by every interface as soon as it ends, and the person\'s other sessions go on', async () => {
    const first = await signInByPhone()
    const second = await withAnother(first)
    await sql('delete from auth.sessions where id = $1', [first.claims.session_id])
    await assertShut(first)
    ok(await second.api('GET', '/user/profile'))
    assert.equal((await supabase(second).from('profiles').select('id')).data.length, 1)
  })

  test('by a ban is refused at once and for good; a new one begins when the ban is over', async () => {
    const someone = await signInByPhone()
    await sql(`update auth.users set banned_until = now() + interval '1 hour' where id = $1`, [someone.id])
    await assertShut(someone)
    await assert.rejects(withAnother(someone), { code: 'PT401' })
    await sql('update auth.users set banned_until = now() where id = $1', [someone.id])
    await assertShut(someone)
    ok(await (await withAnother(someone)).api('GET', '/user/profile'))
  })

  test('by Auth\'s soft delete is refused at once, and the person is on no board', async () => {
    const [someone, other] = [await signInByPhone(), await signInByPhone()]
    ok(await someone.api('PUT', '/user/profile', { body: { display_name: 'Probe Person', province: 'TH-58' } }))
    ok(await someone.api('POST', '/waste/entries', { body: { category_id: 'plastic_bottles', disposal_method: 'recycled', weight_kg: 99 } }), 201)
    const listed = async () => rows(await supabase(other).rpc('get_leaderboard', { timeframe: 'daily', page_size: 100 })).leaderboard.some(line => line.user_id === someone.id)
    await boardsKnow()
    assert.equal(await listed(), true)
    const answer = await fetch(`${env.SUPABASE_URL}/auth/v1/admin/users/${someone.id}`, {
      method: 'DELETE', body: JSON.stringify({ should_soft_delete: true }),
      headers: { apikey: env.SERVICE_ROLE_KEY, authorization: `Bearer ${env.SERVICE_ROLE_KEY}`, 'x-edge-secret': env.EDGE_SECRET, 'content-type': 'application/json' },
    })
    assert.equal(answer.status, 200, await answer.text())
    assert.equal(await listed(), false)
    const [profile] = await sql('select phone_number, closed_until::text from public.profiles where id = $1', [someone.id])
    assert.deepEqual(profile, { phone_number: null, closed_until: 'infinity' }, 'and Auth\'s hash is no number')
    await assertShut(someone)
  })
})

describe('the end', () => {
  after(closeSql)

  test('an account deleted through Auth takes all of its rows along and nobody else\'s', async () => {
    const [someone, other] = [await signInByPhone(), await signInAnonymously()]
    for (const one of [someone, other]) {
      ok(await one.api('POST', '/waste/entries', { body: { category_id: 'metal_cans', disposal_method: 'sold', weight_kg: 80, offline_id: uuid() } }), 201)
      ok(await one.api('POST', '/user/migrate-local', { body: rawDump({ wasteEntries: [appEntry(bangkokInstant(-1)), appEntry(bangkokInstant(-50))], userPreferences: { language: 'en' } }) }))
    }
    const before = await rowsBesideBoards(other.id)
    const had = await rowsOf(someone.id)
    for (const name of ['public.waste_entries', 'private.user_state', 'public.user_days', 'private.entry_keys', 'private.migration_batches', 'private.migration_payloads', 'public.devices']) {
      assert.ok(had[name] > 0, `${name} holds something: ${JSON.stringify(had)}`)
    }
    const answer = await asService('DELETE', `/admin/users/${someone.id}`)
    assert.equal(answer.status, 200, await answer.text())
    await assertNothingLeft(someone.id)
    assert.deepEqual(await rowsBesideBoards(other.id), before)
    assert.deepEqual(await differences(other), [])
    const gone = await someone.api('POST', '/waste/entries', { body: { category_id: 'metal_cans', disposal_method: 'sold', weight_kg: 1 } })
    assert.ok([401, 403, 404].includes(gone.status), `${gone.status} ${gone.text}`)
    const board = ok(await other.api('GET', '/gamification/leaderboard?type=global&timeframe=daily&limit=100')).leaderboard
    assert.ok(!board.some(row => row.user_id === someone.id))
  })
})

describe('a deletion while the person writes', () => {
  after(closeSql)

  test('leaves nothing behind, whichever of the two came first', async () => {
    const someone = await signInAnonymously()
    ok(await someone.api('POST', '/user/migrate-local', { body: rawDump({ wasteEntries: Array.from({ length: 50 }, (_, index) => appEntry(bangkokInstant(-index - 1))) }) }))
    const { entries } = ok(await someone.api('GET', '/waste/entries?page=1&limit=100'))
    const writes = entries.slice(0, 15).flatMap(one => [
      someone.api('POST', '/waste/entries', { body: { category_id: 'metal_cans', disposal_method: 'sold', weight_kg: 1 } }),
      someone.api('PUT', `/waste/entries/${one.id}`, { body: { weight_kg: 3 } }),
      someone.api('DELETE', `/waste/entries/${one.id}`),
    ])
    const [deleted, ...answers] = await Promise.all([asService('DELETE', `/admin/users/${someone.id}`), ...writes])
    assert.equal(deleted.status, 200, await deleted.text())
    assert.ok(answers.every(one => one.status < 500), answers.map(one => one.status).join())
    await assertNothingLeft(someone.id)
  })
})

describe('repair', () => {
  after(closeSql)
  const tamper = async someone => {
    await sql('update private.user_state set credits = credits + 7 where user_id = $1', [someone.id])
    await sql('update public.user_days set entries = entries + 1 where user_id = $1', [someone.id])
    await sql(`insert into public.user_days (user_id, local_date, entries, weight_kg, credits, credits_positive, credits_negative, co2e_kg, co2e_avoided_kg)
      values ($1, '2026-01-01', 1, 1, 1, 1, 0, 1, 1)`, [someone.id])
    assert.notDeepEqual(await differences(someone), [])
  }
  const withEntries = async () => {
    const someone = await signInAnonymously()
    const entries = [0, -1, -40].map(day => ({ category_id: 'glass_bottles', disposal_method: 'disposed', weight_kg: 2, logged_at: bangkokInstant(day) }))
    ok(await someone.api('POST', '/waste/entries/batch', { body: { entries } }))
    return someone
  }
  // Besides the entries' own credits, first_scan pays 10 and a past plastic-free day 150.
  const credits = async someone => ok(await someone.api('GET', '/gamification/profile')).total_credits

  test('recompute_user rebuilds everything derived from the entries', async () => {
    const someone = await withEntries()
    await tamper(someone)
    rows(await serviceClient().rpc('recompute_user', { user_id: someone.id }))
    assert.deepEqual(await differences(someone), [])
    assert.equal(await credits(someone), -30 + 10 + 150)
  })

  test('update_daily_streaks finds and repairs it, continuing where the last call ended', async () => {
    const someone = await withEntries()
    await tamper(someone)
    const service = serviceClient()
    for (let calls = 0; calls < 50 && (await differences(someone)).length > 0; calls++) rows(await service.rpc('update_daily_streaks'))
    assert.deepEqual(await differences(someone), [])
    assert.equal(await credits(someone), -30 + 10 + 150)
  })
})

describe('the metadata that people write about themselves', () => {
  after(closeSql)
  // Bypasses the gateway, which takes less: Auth and the database must hold on their own.
  const put = (token, data) => fetch(`${env.AUTH_URL}/user`, {
    method: 'PUT', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify({ data }),
  })
  const refusal = { code: 'PT413', detail: 'carbon.user_metadata_too_large' }

  test('is no part of their tokens, and everything else is', async () => {
    const someone = await signInByPhone()
    assert.equal((await put(someone.token, { nickname: 'มะลิ' })).status, 200)
    const next = ok(await api('POST', '/auth/refresh', { body: { refresh_token: someone.refreshToken } }))
    const anonymous = await signInAnonymously()
    for (const token of [someone.token, next.access_token, anonymous.token]) {
      const claims = claimsOf(token)
      assert.ok(!('user_metadata' in claims))
      assert.ok(claims.amr[0].method && claims.amr[0].timestamp && claims.session_id && claims.app_metadata && claims.role === 'authenticated')
    }
    assert.equal(next.access_token.length, someone.token.length)
  })

  test('may have 4 KiB in all, and a refusal locks nobody out', async () => {
    const someone = await signInByPhone()
    for (const data of [{ avatar: `data:image/png;base64,${'A'.repeat(900_000)}` }, { avatar: 'A'.repeat(4100) }]) {
      const answer = await put(someone.token, data)
      assert.equal(answer.status, 413)
      const { code, detail, hint, message } = await answer.json()
      assert.deepEqual({ code, detail }, refusal)
      assert.match(hint, /[\u0E00-\u0E7F]/)
      assert.match(message, /4 KiB/)
    }
    for (const [name, status] of [['a', 200], ['b', 200], ['c', 200], ['d', 413]]) assert.equal((await put(someone.token, { [name]: 'x'.repeat(1200) })).status, status, name)
    assert.equal((await put(someone.token, { a: null, b: null })).status, 200, 'less is taken')
    const next = ok(await api('POST', '/auth/refresh', { body: { refresh_token: someone.refreshToken } }))
    ok(await api('GET', '/user/profile', { token: next.access_token }))
    await sleep(1100)
    ok(await api('GET', '/user/profile', { token: (await signInAgain(someone)).access_token }))
  })

  test('is held to that limit when an account is created, too', async () => {
    const answer = await fetch(`${env.AUTH_URL}/signup`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ data: { avatar: 'A'.repeat(900_000) } }),
    })
    // Auth states no reason here, and creates no account.
    assert.deepEqual([answer.status, (await answer.json()).error_code], [500, 'unexpected_failure'])
    const [{ found }] = await sql('select count(*)::int as found from auth.users where octet_length(raw_user_meta_data::text) > 4096')
    assert.equal(found, 0)
  })

  /** Signs the person in once more, from the device that has verified the number. */
  async function signInAgain({ phone, device, session }) {
    const count = (await messages(phone.bare)).length
    const requested = ok(await api('POST', '/auth/phone-otp', { body: { phone_number: phone.typed, device_token: session.device_token } }))
    const { code } = await awaitSms(phone.bare, count + 1)
    return ok(await api('POST', '/auth/verify-otp', { body: { otp_id: requested.otp_id, otp_code: code, device_info: device } }))
  }
})
