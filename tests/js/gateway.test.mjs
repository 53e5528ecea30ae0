// What one client cannot do to the others through the gateway: costly queries, dead connections, large accounts.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { bangkokInstant, closeSql, env, ok, rows, signInAnonymously, signInByPhone, supabase, uuid } from './lib.mjs'

const entry = (more = {}) => ({ category_id: 'metal_cans', disposal_method: 'recycled', weight_kg: 0.75, ...more })

/** A raw request over one of the agent's connections. */
const raw = (method, path, { token = env.ANON_KEY, headers = {}, body, agent } = {}) => new Promise((done, fail) => {
  const { hostname: host, port } = new URL(env.SUPABASE_URL)
  const request = http.request({
    host, port, method, path, agent: agent ?? false,
    headers: { apikey: env.ANON_KEY, authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json', 'content-length': body.length }), ...headers },
  }, answer => {
    let text = ''
    answer.setEncoding('utf8').on('data', part => { text += part }).on('end', () => {
      let json
      try { json = JSON.parse(text) } catch { json = undefined }
      done({ status: answer.statusCode, headers: answer.headers, json, text })
    })
  })
  request.on('error', fail).end(body)
})

/** Asserts that the gateway itself refused supabase-js. */
function refusedBy(answer, code, status = 400) {
  assert.equal(answer.status, status, JSON.stringify(answer.error ?? answer.data)?.slice(0, 300))
  assert.equal(answer.error.code, code)
}

describe('the gateway', () => {
  let person, other, client
  before(async () => {
    person = await signInByPhone()
    other = await signInAnonymously()
    client = supabase(person)
    rows(await client.from('waste_entries').insert([entry({ notes: 'a::b' }), entry({ notes: '66812345678' })]))
  })
  after(closeSql)

  test("PostgREST's description of the schema is shown to nobody", async () => {
    for (const token of [env.ANON_KEY, person.token, env.SERVICE_ROLE_KEY]) {
      for (const path of ['/rest/v1/', '/rest/v1']) assert.equal((await raw('GET', path, { token })).status, 404)
    }
    const direct = await fetch(env.REST_URL, { headers: { authorization: `Bearer ${person.token}` } })
    assert.equal(direct.status, 404, 'PostgREST itself has none to show')
  })

  test('casts are refused in select, in embedded selects and left of an operator, and a value may hold two colons', async () => {
    for (const select of ['notes::numeric', 'id,n:notes::int', 'id,notes::text']) refusedBy(await client.from('waste_entries').select(select), 'cast_not_allowed')
    refusedBy(await client.from('waste_categories').select('id,waste_factors(method::int)'), 'cast_not_allowed')
    refusedBy(await client.from('waste_entries').select('id').eq('notes::text', 'a'), 'cast_not_allowed')
    refusedBy(await client.from('waste_entries').select('id').or('notes::int.eq.1,weight_kg.gt.0'), 'cast_not_allowed')
    const [found] = rows(await client.from('waste_entries').select('notes').eq('notes', 'a::b'))
    assert.equal(found.notes, 'a::b')
    assert.equal(rows(await client.from('waste_entries').select('id').or('notes.ilike.*a::b*,notes.eq."c::d"')).length, 1)
  })

  test('a query may have twenty conditions and four kibibytes', async () => {
    const terms = count => Array.from({ length: count }, () => 'notes.match.a').join(',')
    assert.equal(rows(await client.from('waste_entries').select('id').or(terms(20))).length, 1)
    refusedBy(await client.from('waste_entries').select('id').or(terms(21)), 'too_many_conditions')
    refusedBy(await client.from('waste_entries').select('id').or(`notes.eq.x,and(${terms(20)})`), 'too_many_conditions')
    let many = client.from('waste_entries').select('id')
    for (let n = 0; n < 21; n++) many = many.neq('notes', `x${n}`)
    refusedBy(await many, 'too_many_conditions')
    refusedBy(await client.from('waste_entries').select('id').or(terms(700)), 'query_too_long')
    const ids = Array.from({ length: 90 }, uuid)
    assert.deepEqual(rows(await client.from('waste_entries').select('id').in('id', ids)), [], 'a list of values is one condition')
  })

  test('a column may be selected once', async () => {
    refusedBy(await client.from('waste_entries').select('notes,a:notes,b:notes'), 'repeated_column')
    const [row] = rows(await client.from('waste_entries').select('id,text:notes').limit(1))
    assert.deepEqual(Object.keys(row), ['id', 'text'])
  })

  test('a query that is not UTF-8 is the client\'s mistake', async () => {
    for (const query of ['notes=eq.%FF', '%E0%B8=eq.1', 'select=%C0%AF']) {
      const answer = await raw('GET', `/rest/v1/waste_entries?${query}`, { token: person.token })
      assert.deepEqual([answer.status, answer.json.code], [400, 'query_not_utf8'], query)
    }
  })

  test('the answer to a HEAD does not disturb later requests on its connection', async () => {
    const foreign = supabase(other)
    let stop = false
    const heads = Array.from({ length: 2 }, async () => {
      while (!stop) {
        const { error, count } = await foreign.from('waste_entries').select('*', { count: 'exact', head: true })
        assert.deepEqual([error, count], [null, 0])
      }
    })
    const statuses = new Set()
    for (let n = 0; n < 400; n++) statuses.add((await client.rpc('get_profile')).status)
    stop = true
    await Promise.all(heads)
    assert.deepEqual([...statuses], [200])
  })

  test('a body that nothing reads does not break the next request on its connection', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    const [{ id }] = rows(await client.from('waste_entries').insert(entry()).select('id'))
    const body = Buffer.from(JSON.stringify({ filler: 'x'.repeat(100_000) }))
    for (const [method, path, status] of [
      ['GET', '/rest/v1/waste_entries?select=id&limit=1', 200], ['DELETE', `/rest/v1/waste_entries?id=eq.${id}`, 204], ['DELETE', '/rest/v1/', 404],
      ['POST', '/nowhere', 404], ['GET', '/auth/v1/user', 200],
    ]) {
      assert.equal((await raw(method, path, { token: person.token, body, agent })).status, status, `${method} ${path}`)
      const next = await raw('GET', '/rest/v1/waste_categories?select=id&limit=1', { token: person.token, agent })
      assert.equal(next.status, 200, `the request after ${method} ${path}`)
    }
    agent.destroy()
  })

  test('the metadata that a person stores in Auth may have one kibibyte', async () => {
    const someone = await signInAnonymously()
    const put = data => raw('PUT', '/auth/v1/user', { token: someone.token, body: Buffer.from(JSON.stringify({ data })) })
    assert.equal((await put({ theme: 'dark' })).status, 200)
    for (const length of [1_100, 6_000, 900_000]) {
      const answer = await put({ avatar: 'A'.repeat(length) })
      assert.deepEqual([answer.status, /_too_large$/.test(answer.json.code)], [413, true], `${length}`)
    }
    ok(await someone.api('GET', '/user/profile'))
  })

  test('a batch of 500 entries of full length fits, in every JSON escaping', async () => {
    const someone = await signInAnonymously()
    const notes = 'ขวดพลาสติกใส'.repeat(41).slice(0, 490)
    const entries = Array.from({ length: 500 }, (_, n) => entry({ notes, offline_id: uuid(), logged_at: bangkokInstant(-1 - (n % 5)) }))
    const text = JSON.stringify({ entries }).replace(/[^\x20-\x7e]/g, sign => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`)
    assert.ok(text.length > 1024 * 1024 * 1.3, `${text.length}`)
    const answer = await raw('POST', '/rest/v1/rpc/create_waste_entries', { token: someone.token, body: Buffer.from(text) })
    assert.deepEqual([answer.status, answer.json?.created], [200, 500], answer.text.slice(0, 300))
    const larger = await raw('POST', '/rest/v1/rpc/get_profile', { token: someone.token, body: Buffer.from(text) })
    assert.equal(larger.status, 413, 'and nothing else is as large')
  })
})
