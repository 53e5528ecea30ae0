// One hostile account, and forty cheap ones, call what costs most at full speed: they are told to wait, and nobody else is
// refused. Limits are on, and only statuses are checked, never times, which `cargo xtask bench faults` measures.
import { after, before, describe, test } from 'node:test'
import http from 'node:http'
import { availableParallelism } from 'node:os'
import assert from 'node:assert/strict'
import { claimsOf, closeSql, deviceInfo, env, ok, sql, uuid } from './lib.mjs'
import { call, freshAddress } from './limits-fixtures.mjs'

/** How long each row lasts. */
const SECONDS = 2
/** Requests that one account has in flight: more than PostgREST has connections. */
const AT_ONCE = 25

/** An anonymous user, signed in from an address of their own, with the token. */
async function person() {
  const session = ok(await call('POST', '/auth/anonymous', { body: { device_info: deviceInfo() } }))
  return { id: claimsOf(session.access_token).sub, token: session.access_token, from: freshAddress() }
}

/** A request to Supabase's address as the user, from their own address; returns status and headers. */
function rest(someone, method, path, { body, headers = {} } = {}) {
  const { hostname: host, port } = new URL(env.SUPABASE_URL)
  const payload = body && JSON.stringify(body)
  return new Promise((done, fail) => {
    const request = http.request({
      host, port, method, path, localAddress: someone.from, agent: false,
      headers: {
        apikey: env.ANON_KEY, authorization: `Bearer ${someone.token}`,
        ...(payload && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }), ...headers,
      },
    }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', part => { text += part }).on('end', () => done({ status: response.statusCode, headers: new Headers(response.headers), text }))
    })
    request.on('error', fail).end(payload)
  })
}

/** Maintains a number of requests of each account in flight until the time is over; returns all answers. */
async function flood(accounts, atOnce, request) {
  const until = Date.now() + SECONDS * 1000
  const answers = []
  await Promise.all(accounts.flatMap(account => Array.from({ length: atOnce }, async () => {
    while (Date.now() < until) answers.push(await request(account))
  })))
  return answers
}

/** A victim reads their profile and logs while `deed` runs; returns the statuses of both. */
async function beside(deed) {
  const victim = await person()
  const statuses = []
  let goesOn = true
  const living = (async () => {
    // A user has 60 creates an hour.
    for (let n = 0; goesOn && n < 50; n++) {
      const [read, written] = await Promise.all([
        call('GET', '/user/profile', { token: victim.token }),
        call('POST', '/waste/entries', { token: victim.token, body: { category_id: 'food_waste', disposal_method: 'reduced', weight_kg: 1, offline_id: uuid() } }),
      ])
      statuses.push(read.status, written.status)
      await new Promise(done => setTimeout(done, 50))
    }
  })()
  const result = await deed()
  goesOn = false
  await living
  return { result, statuses }
}

/** Asserts that every answer of the flood has one of these statuses, that limits have Retry-After, and that the victim met none. */
function assertServed({ result: answers, statuses }, allowed, { refuses = true } = {}) {
  const counts = answers.reduce((all, { status }) => ({ ...all, [status]: (all[status] ?? 0) + 1 }), {})
  assert.ok(answers.length > 0 && answers.every(({ status }) => allowed.includes(status)),
    `${JSON.stringify(counts)} ${answers.find(({ status }) => !allowed.includes(status))?.text?.slice(0, 300)}`)
  for (const answer of answers.filter(one => one.status === 429)) {
    assert.ok(Number(answer.headers.get('retry-after')) >= 1, `429 without Retry-After: ${answer.text}`)
  }
  if (refuses) assert.ok(counts[429] > 0, `the flood is told to wait: ${JSON.stringify(counts)}`)
  assert.ok(statuses.length > 0 && statuses.every(status => status === 200 || status === 201), `the other person: ${statuses}`)
}

const dump = (entries, more = '') => ({ waste_entries: Array.from({ length: entries }, (_, n) => ({
  category_id: 'food_waste', disposal_method: 'composted', weight_kg: 1, logged_at: '2024-05-01T00:00:00Z', offline_id: `${more}${n}`, notes: `ขวดพลาสติก ${'น้ำ'.repeat(60)} ${n}` })) })
const entry = () => ({ category_id: 'food_waste', disposal_method: 'reduced', weight_kg: 0.5, offline_id: uuid() })
const matches = Array.from({ length: 15 }, (_, n) => `notes.match."(ข.*ว${n}|น้ำ.*${n}.*น้ำ)"`)
const imports = { payload: JSON.stringify(dump(300, 'x')) }

/** Each attack: a request, the statuses that it may have, and whether some of its requests must be refused. */
const ROWS = [
  ['imports by rpc', one => rest(one, 'POST', '/rest/v1/rpc/migrate_local', { body: imports }), [200, 429]],
  ['dry runs by rpc', one => rest(one, 'POST', '/rest/v1/rpc/migrate_local', { body: { ...imports, dry_run: true } }), [200, 429]],
  ['searches with many conditions', one => rest(one, 'GET', `/rest/v1/waste_entries?select=id&or=(${matches.map(encodeURIComponent).join(',')})`), [200, 429]],
  ['searches by rpc', one => rest(one, 'POST', '/rest/v1/rpc/list_waste_entries', { body: { q: 'ไม่มี', page: 1 } }), [200, 429]],
  ['batches by rpc', one => rest(one, 'POST', '/rest/v1/rpc/create_waste_entries', { body: { entries: Array.from({ length: 100 }, entry) } }), [200, 429]],
  ['arrays by REST', one => rest(one, 'POST', '/rest/v1/waste_entries', { body: Array.from({ length: 100 }, entry), headers: { prefer: 'return=minimal' } }), [201, 429]],
  ['full answers stored for a key', one => rest(one, 'POST', '/rest/v1/rpc/run_once', { body: { idempotency_key: uuid(), request_scope: 'x', request_fingerprint: 'a'.repeat(64),
    operation: 'sync_changes', arguments: { since_revision: 0 } } }), [200, 429]],
  ['twins of one key', one => rest(one, 'POST', '/rest/v1/rpc/run_once', { body: { idempotency_key: 'one', request_scope: `x${Math.floor(Date.now() / 100)}`, request_fingerprint: 'a'.repeat(64),
    operation: 'create_waste_entry', arguments: { entry: entry() } } }), [200, 429]],
  ['deletions without a filter', one => rest(one, 'DELETE', '/rest/v1/waste_entries'), [400, 429], { refuses: false }],
  ['changes of an entire diary', one => rest(one, 'PATCH', '/rest/v1/waste_entries?weight_kg=gt.0', { body: { notes: 'x' } }), [429, 503]],
  ['the description of all tables', one => rest(one, 'GET', '/rest/v1/'), [404, 429], { refuses: false }],
  ['casts to another type', one => rest(one, 'GET', '/rest/v1/waste_entries?select=notes::numeric'), [400, 429], { refuses: false }],
  ['requests for heads', one => rest(one, 'HEAD', '/rest/v1/waste_entries?select=id', { headers: { prefer: 'count=exact' } }), [200, 206, 429]],
  ['bodies where none belongs', one => rest(one, 'GET', '/rest/v1/waste_entries?select=id&limit=1', { body: { x: 'y'.repeat(20_000) } }), [200, 429]],
]

describe('one hostile account is told to wait, and others are served', () => {
  let hostile
  before(async () => {
    hostile = await person()
    ok(await call('POST', '/user/migrate-local', { token: hostile.token, body: dump(2000) }))
  })
  after(closeSql)

  for (const [name, request, allowed, options] of ROWS) {
    test(name, async () => {
      // Each from another address: here the account is what counts.
      hostile.from = freshAddress()
      assertServed(await beside(() => flood([hostile], AT_ONCE, request)), allowed, options)
    })
  }

  test('its diary is complete', async () => {
    const [{ found }] = await sql('select public.check_user($1) as found', [hostile.id])
    assert.deepEqual(found, [])
  })
})

describe('forty cheap accounts cannot do what one cannot', () => {
  let accounts
  before(async () => {
    accounts = await Promise.all(Array.from({ length: 40 }, person))
    await Promise.all(accounts.slice(0, 10).map(one => call('POST', '/user/migrate-local', { token: one.token, body: dump(500) })))
  })
  after(closeSql)

  for (const [name, request, allowed] of ROWS.slice(0, 6)) {
    test(name, async () => assertServed(await beside(() => flood(accounts, 2, request)), allowed))
  }

  test('and at no time do they hold more than half of the heavy slots', async () => {
    let most = 0
    let goesOn = true
    const watching = (async () => {
      while (goesOn) {
        const [{ held }] = await sql(`select count(*)::integer as held from pg_locks where locktype = 'advisory' and objsubid = 2
          and classid = x'63617262'::bigint::oid and granted`)
        most = Math.max(most, held)
      }
    })()
    await flood(accounts, 2, ROWS[1][1])
    goesOn = false
    await watching
    const slots = Math.min(Math.max(availableParallelism(), 2), 8)
    assert.ok(most >= 1 && most <= Math.ceil(slots / 2), `${most} at once`)
  })
})
