// supabase-js against the gateway: row-level security holds, derived data cannot be forged, and Auth's dangerous routes are
// closed to all but the Worker.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import {
  bangkokDay, bangkokInstant, claimsOf, closeSql, differences, env, ok, refused, rows, serviceClient, signInAnonymously, signInByPhone, signToken,
  sql, sqlAs, supabase, uuid,
} from './lib.mjs'
import { assertEntryFigures, rewardsOf, summaryOf } from './figures.mjs'

const entry = (more = {}) => ({ category_id: 'metal_cans', disposal_method: 'recycled', weight_kg: 0.75, ...more })

/** Asserts that a supabase-js answer is an error with the HTTP status and, if given, the SQLSTATE. */
function denied(answer, status, code) {
  assert.ok(answer.error, `expected an error, got ${JSON.stringify(answer.data)?.slice(0, 300)}`)
  if (status !== undefined) assert.equal(answer.status, status, JSON.stringify(answer.error))
  if (code !== undefined) assert.equal(answer.error.code, code, JSON.stringify(answer.error))
  return answer.error
}

describe('rows through supabase-js', () => {
  let mali, other, client, foreign
  before(async () => {
    mali = await signInByPhone()
    other = await signInAnonymously()
    client = supabase(mali)
    foreign = supabase(other)
  })
  after(closeSql)

  test('an inserted entry comes back with the figures the database derived', async () => {
    const [row] = rows(await client.from('waste_entries').insert(entry({ weight_kg: 0.615, notes: 'กระป๋อง', offline_id: uuid() })).select())
    assert.equal(row.user_id, mali.id)
    assert.equal(row.local_date, bangkokDay())
    assert.equal(row.factor_set, 'tgo-app-2024')
    assertEntryFigures(row)
  })

  test('several rows in one insert count once each, and totals follow', async () => {
    rows(await client.from('waste_entries').insert([
      entry({ logged_at: bangkokInstant(-1) }), entry({ logged_at: bangkokInstant(-40), category_id: 'food_waste', disposal_method: 'disposed', weight_kg: 2.5 }),
    ]).select('id'))
    const list = rows(await client.from('waste_entries').select('*'))
    const counted = list.map(one => ({ category: one.category_id, method: one.disposal_method, weight: one.weight_kg, at: one.logged_at }))
    const expected = summaryOf(counted).credits + rewardsOf(counted, { today: bangkokDay() }).credits
    const [totals] = rows(await client.from('user_gamification').select('total_credits,daily_streak'))
    assert.equal(BigInt(totals.total_credits), expected)
    assert.equal(totals.daily_streak, 2)
    assert.deepEqual(await differences(mali), [])
  })

  test('an update changes the stated columns and what is derived from them', async () => {
    const [row] = rows(await client.from('waste_entries').insert(entry()).select())
    const [changed] = rows(await client.from('waste_entries').update({ weight_kg: 4, disposal_method: 'sold', logged_at: bangkokInstant(-33) }).eq('id', row.id).select())
    assertEntryFigures(changed)
    assert.equal(changed.local_date, bangkokDay(-33))
    assert.deepEqual(await differences(mali), [])
    rows(await client.from('waste_entries').delete().eq('id', row.id))
    assert.deepEqual(rows(await client.from('waste_entries').select('id').eq('id', row.id)), [])
    assert.deepEqual(await differences(mali), [])
  })

  for (const [column, value] of [['user_id', uuid()], ['carbon_credits', 1000], ['local_date', '2020-01-01'], ['factor_set', 'mine'], ['co2e_kg', 0],
    ['co2e_avoided_kg', 99], ['created_at', '2020-01-01T00:00:00Z'], ['batch_id', uuid()], ['legacy_id', 'x']]) {
    test(`${column} cannot be forged by an insert or an update`, async () => {
      const inserted = await client.from('waste_entries').insert(entry({ [column]: value }))
      const refusal = denied(inserted)
      assert.ok(['42501', '428C9'].includes(refusal.code), JSON.stringify(refusal))
      const updated = denied(await client.from('waste_entries').update({ [column]: value }).eq('user_id', mali.id))
      assert.ok(['42501', '428C9'].includes(updated.code), JSON.stringify(updated))
    })
  }

  for (const table of ['user_totals', 'user_days', 'devices', 'waste_categories', 'waste_factors', 'user_gamification']) {
    test(`${table} cannot be written`, async () => {
      const column = { waste_categories: 'id', waste_factors: 'category_id' }[table] ?? 'user_id'
      const inserted = denied(await client.from(table).insert({ [column]: uuid() }))
      assert.notEqual(inserted.code?.slice(0, 3), 'PGR', JSON.stringify(inserted))
      const before = rows(await client.from(table).select('*'))
      await client.from(table).update({ [column]: uuid() }).not(column, 'is', null)
      await client.from(table).delete().not(column, 'is', null)
      assert.deepEqual(rows(await client.from(table).select('*')), before)
    })
  }

  test('a profile\'s phone number and anonymous flag cannot be written', async () => {
    for (const change of [{ phone_number: '+66812345678' }, { is_anonymous: true }, { id: uuid() }, { created_at: '2020-01-01' }]) {
      denied(await client.from('profiles').update(change).eq('id', mali.id), 403, '42501')
    }
  })

  test('a taken offline_id is answered as a conflict', async () => {
    const offline_id = uuid()
    rows(await client.from('waste_entries').insert(entry({ offline_id })).select('id'))
    denied(await client.from('waste_entries').insert(entry({ offline_id, weight_kg: 2 })), 409, '23505')
    const again = ok(await mali.api('POST', '/waste/entries', { body: entry({ offline_id, weight_kg: 3 }) }))
    assert.equal(again.duplicate, true)
    assert.equal(rows(await client.from('waste_entries').select('id').eq('offline_id', offline_id)).length, 1)
  })

  for (const [change, detail] of [[{ category_id: 'gold' }, 'carbon.unknown_category'], [{ disposal_method: 'composted' }, 'carbon.unknown_method']]) {
    test(`an entry with ${JSON.stringify(change)} is refused by its token`, async () => {
      const error = denied(await client.from('waste_entries').insert(entry(change)), 400)
      assert.ok(error.code === '22023' ? error.details === detail : error.code.startsWith('23'), JSON.stringify(error))
    })
  }

  test('entries of the future and of long ago are refused by name', async () => {
    const later = denied(await client.from('waste_entries').insert(entry({ logged_at: new Date(Date.now() + 600_000).toISOString() })), 400, '22023')
    assert.equal(later.details, 'carbon.logged_at_in_future')
    for (const at of ['2015-01-01T00:00:00Z', '1970-01-01T00:00:00Z', '2900-01-01T00:00:00Z']) {
      const error = denied(await client.from('waste_entries').insert(entry({ logged_at: at })), 400, '22023')
      assert.ok(['carbon.logged_at_too_old', 'carbon.logged_at_in_future'].includes(error.details), JSON.stringify(error))
    }
  })

  test('a row that lacks a value is refused by its field in both languages, in a list and by an update too', async () => {
    const { error: byRpc } = await client.rpc('create_waste_entry', { entry: { disposal_method: 'recycled', weight_kg: 1 } })
    for (const [field, token] of [['category_id', 'category_required'], ['disposal_method', 'method_required'], ['weight_kg', 'weight_required']]) {
      const { [field]: _, ...lacking } = entry()
      for (const insert of [lacking, [entry(), lacking], entry({ [field]: null })]) {
        const error = denied(await client.from('waste_entries').insert(insert), 400, '22023')
        assert.equal(error.details, `carbon.${token}`, JSON.stringify(error))
        assert.match(error.hint, /[\u0e00-\u0e7f]/)
        if (field === 'category_id') assert.deepEqual(error, byRpc)
      }
      denied(await client.from('waste_entries').insert([entry(), lacking], { defaultToNull: false }), 400, '22023')
      const [row] = rows(await client.from('waste_entries').insert([entry()], { defaultToNull: false }).select())
      denied(await client.from('waste_entries').update({ [field]: null }).eq('id', row.id), 400, '22023')
    }
    assert.deepEqual(await differences(mali), [])
  })

  test('a weight outside the limits is refused, even if only after rounding', async () => {
    for (const weight_kg of [0, -1, 0.009, 0.0049, 100.001, 1e9]) denied(await client.from('waste_entries').insert(entry({ weight_kg })), 400)
  })

  test('another signed-in person sees and changes nothing', async () => {
    for (const table of ['waste_entries', 'profiles', 'user_preferences', 'user_totals', 'user_days', 'devices', 'user_gamification']) {
      const column = table === 'profiles' ? 'id' : 'user_id'
      assert.deepEqual(rows(await foreign.from(table).select('*').eq(column, mali.id)), [], table)
    }
    const before = rows(await client.from('waste_entries').select('*').order('id'))
    await foreign.from('waste_entries').update({ weight_kg: 9 }).eq('user_id', mali.id)
    await foreign.from('waste_entries').delete().eq('user_id', mali.id)
    await foreign.from('profiles').update({ display_name: 'taken' }).eq('id', mali.id)
    assert.deepEqual(rows(await client.from('waste_entries').select('*').order('id')), before)
    for (const [name, values] of [['get_waste_entry', { entry_id: before[0].id }], ['delete_waste_entry', { entry_id: before[0].id }],
      ['update_waste_entry', { entry_id: before[0].id, changes: { weight_kg: 9 } }]]) {
      denied(await foreign.rpc(name, values), 404)
    }
  })

  test('exact, planned and estimated counts do not reveal hidden rows', async () => {
    for (const count of ['exact', 'planned', 'estimated']) {
      const answer = await foreign.from('waste_entries').select('*', { count, head: true })
      assert.equal(answer.count, 0, count)
    }
  })

  test('without a sign-in nothing personal is readable or writable', async () => {
    const anon = supabase()
    for (const table of ['waste_entries', 'profiles', 'user_preferences', 'user_totals', 'user_days', 'devices', 'user_gamification']) {
      const answer = await anon.from(table).select('*').limit(1)
      if (answer.error) assert.equal(answer.error.code, '42501', `${table} ${JSON.stringify(answer.error)}`)
      else assert.deepEqual(answer.data, [], table)
    }
    denied(await anon.from('waste_entries').insert(entry()), 401, '42501')
    for (const [name, values] of [['create_waste_entry', { entry: entry() }], ['migrate_local', { payload: '{}' }], ['get_profile', {}],
      ['sync_changes', { since_revision: 0, max_changes: 10 }]]) {
      denied(await anon.rpc(name, values), 401)
    }
  })

  for (const name of ['recompute_user', 'check_user']) {
    test(`${name} is closed to signed-in users`, async () => {
      const [argument] = await sql(`select proargnames[1] as name from pg_proc where proname = $1 and pronamespace = 'public'::regnamespace`, [name])
      const values = { [argument.name]: mali.id }
      for (const someone of [client, supabase()]) {
        const error = denied(await someone.rpc(name, values))
        assert.ok(['42501', 'PGRST202'].includes(error.code), JSON.stringify(error))
      }
      assert.equal((await serviceClient().rpc(name, values)).error, null)
    })
  }

  test('schemas other than public are not exposed', async () => {
    for (const schema of ['private', 'auth', 'carbon']) {
      const error = denied(await client.schema(schema).from('entry_keys').select('*'))
      assert.equal(error.code, 'PGRST106')
    }
  })
})

describe('caps of the database for every interface', () => {
  after(closeSql)

  test('501 rows in one statement are refused as too many, 500 are accepted', async () => {
    const someone = await signInAnonymously()
    const client = supabase(someone)
    const list = Array.from({ length: 501 }, () => entry({ weight_kg: 0.01 }))
    const error = denied(await client.from('waste_entries').insert(list), 429)
    assert.equal(error.details, 'carbon.rows_per_statement')
    rows(await client.from('waste_entries').insert(list.slice(1)))
    const [totals] = await sql('select entries::text from public.user_totals where user_id = $1', [someone.id])
    assert.equal(totals.entries, '500')
  })

  test('in an hour one user may write 5,060 rows; the next is refused', async () => {
    const someone = await signInAnonymously()
    const client = supabase(someone)
    const full = Array.from({ length: 500 }, () => entry({ weight_kg: 0.01 }))
    for (let call = 0; call < 10; call++) rows(await client.from('waste_entries').insert(full))
    rows(await client.from('waste_entries').insert(full.slice(0, 60)))
    const error = denied(await client.from('waste_entries').insert(entry()), 429)
    assert.equal(error.details, 'carbon.rows_per_hour')
    denied(await client.rpc('create_waste_entry', { entry: entry() }), 429)
    refused(await someone.api('POST', '/waste/entries', { body: entry() }), 429, 'RATE_LIMITED')
    await assert.rejects(sqlAs(someone, `insert into public.waste_entries (category_id, disposal_method, weight_kg) values ('food_waste', 'reduced', 1)`),
      failure => failure.code === 'PT429' && failure.detail === 'carbon.rows_per_hour')
    assert.deepEqual(await differences(someone), [])
  })
})

describe('sessions through supabase-js', () => {
  after(closeSql)

  test('a session of the Worker refreshes, reads its user and ends through supabase-js', async () => {
    const someone = await signInByPhone()
    const client = supabase()
    const set = await client.auth.setSession({ access_token: someone.token, refresh_token: someone.refreshToken })
    assert.equal(set.error, null)
    const { data: { user } } = await client.auth.getUser()
    assert.equal(user.id, someone.id)
    assert.equal(user.phone, someone.phone.bare)
    const refreshed = await client.auth.refreshSession()
    assert.equal(refreshed.error, null)
    assert.notEqual(refreshed.data.session.refresh_token, someone.refreshToken)
    assert.equal(claimsOf(refreshed.data.session.access_token).sub, someone.id)
    const named = await client.auth.updateUser({ data: { nickname: 'มะลิ' } })
    assert.equal(named.error, null)
    assert.equal((await client.auth.signOut()).error, null)
    const after = supabase()
    const late = await after.auth.refreshSession({ refresh_token: refreshed.data.session.refresh_token })
    assert.ok(late.error, 'a session that was ended cannot be refreshed')
  })

  test('roles written into user_metadata have no effect', async () => {
    const someone = await signInAnonymously()
    const client = supabase()
    await client.auth.setSession({ access_token: someone.token, refresh_token: someone.refreshToken })
    assert.equal((await client.auth.updateUser({ data: { role: 'service_role', is_anonymous: false } })).error, null)
    const { data } = await client.auth.refreshSession()
    assert.equal(claimsOf(data.session.access_token).role, 'authenticated')
    assert.equal(claimsOf(data.session.access_token).is_anonymous, true)
    const rest = supabase({ token: data.session.access_token })
    assert.equal(rows(await rest.from('profiles').select('*')).length, 1)
  })

  test('tokens that are expired, of another secret, unsigned or of another audience are refused', async () => {
    const someone = await signInAnonymously()
    const now = Math.floor(Date.now() / 1000)
    const unsigned = `${Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url')}.${Buffer.from(JSON.stringify(someone.claims)).toString('base64url')}.`
    for (const token of [signToken({ ...someone.claims, exp: now - 120 }), signToken(someone.claims, { secret: 'x'.repeat(40) }), unsigned,
      signToken({ ...someone.claims, aud: 'elsewhere' })]) {
      const answer = await supabase({ token }).from('waste_entries').select('*')
      assert.equal(answer.status, 401, JSON.stringify(answer))
    }
  })
})

describe('the gateway', () => {
  const call = (method, path, { body, key = env.ANON_KEY, token = key, headers } = {}) => fetch(`${env.SUPABASE_URL}${path}`, {
    method, headers: { ...(key && { apikey: key }), ...(token && { authorization: `Bearer ${token}` }), 'content-type': 'application/json', ...headers },
    body: body && JSON.stringify(body),
  })

  for (const [method, path, body] of [
    ['POST', '/auth/v1/otp', { phone: '66812345678' }], ['POST', '/auth/v1/verify', { type: 'sms', phone: '66812345678', token: '1234567890' }],
    ['GET', '/auth/v1/verify?type=signup&token=x'], ['POST', '/auth/v1/signup', {}], ['POST', '/auth/v1/resend', { type: 'sms', phone: '66812345678' }],
    ['POST', '/auth/v1/token?grant_type=password', { phone: '66812345678', password: 'x' }], ['POST', '/auth/v1/token?grant_type=id_token', {}],
    ['POST', '/auth/v1/token', {}], ['POST', '/auth/v1/token?grant_type=refresh_token&grant_type=password', { refresh_token: 'x' }],
    ['GET', '/auth/v1/reauthenticate'], ['POST', '/auth/v1/factors', {}], ['POST', '/auth/v1/invite', { email: 'a@example.org' }], ['GET', '/auth/v1/admin/users'],
    ['POST', '/auth/v1/magiclink', {}], ['POST', '/auth/v1/recover', {}], ['GET', '/auth/v1/authorize?provider=google'],
    ['POST', '/auth/v1//otp', { phone: '66812345678' }], ['POST', '/auth/v1/otp/', { phone: '66812345678' }], ['POST', '/auth/v1/%6Ftp', { phone: '66812345678' }],
    ['POST', '/auth/v1/../v1/otp', { phone: '66812345678' }], ['POST', '/rest/v1/..%2f..%2fauth/v1/otp', { phone: '66812345678' }],
  ]) {
    test(`keeps ${method} ${path} closed without the Worker's secret, regardless of the key`, async () => {
      for (const key of [env.ANON_KEY, env.SERVICE_ROLE_KEY]) {
        const answer = await call(method, path, { body, key })
        const text = await answer.text()
        assert.ok([401, 403, 404, 405].includes(answer.status), `${answer.status} ${text}`)
        assert.doesNotMatch(text, /access_token|otp_expired|invalid_credentials|"users"/, text)
      }
    })
  }

  test('lets PUT /user change nothing but data', async () => {
    const someone = await signInAnonymously()
    for (const body of [{ phone: '66812345678' }, { password: 'secret-secret' }, { email: 'a@example.org' }, { data: {}, password: 'secret-secret' }, { nonce: '1' }]) {
      const answer = await call('PUT', '/auth/v1/user', { body, token: someone.token })
      assert.equal(answer.status, 403, JSON.stringify(body))
    }
    assert.equal((await call('PUT', '/auth/v1/user', { body: { data: { a: 1 } }, token: someone.token })).status, 200)
  })

  test('requires a valid key', async () => {
    assert.equal((await call('GET', '/rest/v1/waste_categories', { key: null, token: null })).status, 401)
    assert.equal((await call('GET', '/rest/v1/waste_categories', { key: 'wrong', token: null })).status, 401)
  })

  test('answers health, settings and the key set', async () => {
    for (const path of ['/auth/v1/health', '/auth/v1/settings', '/auth/v1/.well-known/jwks.json']) assert.equal((await call('GET', path)).status, 200, path)
  })

  test('accepts the opaque keys as supabase-js sends them', async () => {
    const someone = await signInAnonymously()
    const client = supabase(someone, env.PUBLISHABLE_KEY)
    assert.equal(rows(await client.from('profiles').select('id'))[0].id, someone.id)
    assert.equal(rows(await supabase(undefined, env.SECRET_KEY).from('profiles').select('id').eq('id', someone.id)).length, 1)
  })
})
