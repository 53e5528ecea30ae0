// For a blocked user every answer about the blocker equals that about somebody who does not exist (decision 0043 lists what is
// accepted): every endpoint of the API's description, every function and every table that a signed-in client may name, each
// with the blocker's id, user name and code, and with those of nobody.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { api, boardsKnow, closeSql, env, ok, signInByPhone, sql, uuid } from './lib.mjs'

const METHODS = ['get', 'post', 'put', 'delete']
/** Endpoints that would end the caller's session, send a message, or are not for users. */
const LEFT_OUT = /^\/(auth|hooks|operator)\/|\/health|^\/metrics|^\/openapi|^\/user\/account/
/** Members by which requests name people, now or later. */
const MEMBERS = ['user_id', 'username', 'code', 'id', 'referral_code', 'join_code', 'friend_id']
const entry = { category_id: 'metal_cans', disposal_method: 'recycled', weight_kg: 80 }

/** An answer without what differs by nature: the name that was asked for, ids, times, cursors and tags. */
function comparable(status, text, names) {
  let plain = text
  for (const name of Object.values(names)) plain = plain.replaceAll(name, '<name>')
  plain = plain.replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '<id>')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)/g, '<time>')
    .replace(/"(request_id|next_cursor|tag|code|link)" ?: ?"[^"]*"/g, '"$1":"<made>"')
  return `${status} ${plain}`
}

describe('for a blocked user the blocker', () => {
  let viewer, blocker
  const nobody = () => ({ user_id: uuid(), username: `n.${uuid().slice(0, 18)}`, code: 'ZZZZZ99999' })
  let names

  before(async () => {
    [viewer, blocker] = await Promise.all([signInByPhone(), signInByPhone()])
    names = { user_id: blocker.id, username: `z.${uuid().slice(0, 18)}`, code: ok(await blocker.api('POST', '/social/friends/code')).code }
    ok(await blocker.api('PUT', '/user/profile', { body: { username: names.username, display_name: `ผู้ปิดกั้น ${uuid()}`, province: 'TH-10' } }))
    for (const someone of [viewer, blocker]) ok(await someone.api('POST', '/waste/entries', { body: entry }), 201)
    // They were friends, and the blocked one remembers every name.
    ok(await viewer.api('POST', '/social/friends/request', { body: { user_id: blocker.id } }), 201)
    ok(await blocker.api('POST', '/social/friends/request', { body: { user_id: viewer.id } }), 201)
    ok(await blocker.api('PUT', `/social/friends/block/${viewer.id}`))
    await boardsKnow()
  })
  after(closeSql)

  /** Asserts that the answer about the blocker is one of those about nobody, of which the first may change something. */
  async function sameAsNobody(what, call) {
    const [first, about, last] = [await call(nobody()), await call(names), await call(nobody())]
    assert.ok(about === first || about === last, `${what}\nabout the blocker: ${about}\nabout nobody:      ${last}`)
  }

  test('looks as if they did not exist at every endpoint', async () => {
    const { paths } = (await api('GET', '/openapi.json')).json
    let calls = 0
    for (const [path, operations] of Object.entries(paths)) {
      if (LEFT_OUT.test(path)) continue
      for (const method of METHODS.filter(one => operations[one])) {
        const members = operations[method].requestBody ? MEMBERS : [undefined]
        for (const member of path.includes('{') ? ['user_id', 'username', 'code'] : members) {
          // Accepted: a user name that is taken.
          if (path === '/user/profile' && member === 'username') continue
          calls++
          await sameAsNobody(`${method} ${path} ${member}`, async who => {
            const value = who[member] ?? who.user_id
            const route = path.replace(/\{[^}]*\}/, encodeURIComponent(value))
            const body = operations[method].requestBody && member ? { [member]: value } : undefined
            const answer = await viewer.api(method.toUpperCase(), route, { body })
            return comparable(answer.status, answer.text, who)
          })
        }
      }
    }
    assert.ok(calls > 60, `${calls} calls`)
  })

  test('looks as if they did not exist to every function', async () => {
    const functions = await sql(`
      select p.proname as name, a.name as argument, format_type(a.type, null) as type
      from pg_proc as p
      cross join lateral unnest(p.proargtypes::oid[], coalesce(p.proargnames, array[''])) as a (type, name)
      where p.pronamespace = 'public'::regnamespace and has_function_privilege('authenticated', p.oid, 'execute')
        and a.type = any (array['uuid', 'text', 'json', 'jsonb']::regtype[]) and p.proname not like 'tg\\_%'`)
    assert.ok(functions.some(one => one.name === 'request_friend' && one.argument === 'user_id'))
    for (const { name, argument, type } of functions) {
      const kinds = type === 'uuid' ? ['user_id'] : ['user_id', 'username', 'code']
      for (const kind of kinds) {
        await sameAsNobody(`${name}(${argument}) by ${kind}`, async who => {
          const members = type.startsWith('json') ? { ...who, entry: { id: who.user_id }, changes: { username: 'x' }, entry_id: who.user_id } : who[kind]
          const body = argument ? { [argument]: members } : members
          const answer = await fetch(`${env.SUPABASE_URL}/rest/v1/rpc/${name}`, {
            method: 'POST', body: JSON.stringify(body),
            headers: { 'content-type': 'application/json', apikey: env.ANON_KEY, authorization: `Bearer ${viewer.token}` },
          })
          return comparable(answer.status, await answer.text(), who)
        })
      }
    }
  })

  test('looks as if they did not exist in every table and view', async () => {
    const columns = await sql(`
      select c.relname as table, a.attname as column
      from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition and a.atttypid = 'uuid'::regtype
        and has_column_privilege('authenticated', c.oid, a.attnum, 'select')`)
    assert.ok(columns.some(one => one.table === 'user_blocks') && columns.some(one => one.table === 'leaderboard_monthly'))
    for (const { table, column } of columns) {
      await sameAsNobody(`${table}.${column}`, async who => {
        const answer = await fetch(`${env.SUPABASE_URL}/rest/v1/${table}?${column}=eq.${who.user_id}`,
          { headers: { apikey: env.ANON_KEY, authorization: `Bearer ${viewer.token}` } })
        return comparable(answer.status, await answer.text(), who)
      })
    }
  })

  test('stands in no answer that names nobody, and the other way round only in the list of blocks', async () => {
    const { paths } = (await api('GET', '/openapi.json')).json
    const plain = Object.entries(paths).filter(([path, operations]) => operations.get && !path.includes('{') && !LEFT_OUT.test(path)).map(([path]) => path)
    const queries = ['', '?type=friends', '?timeframe=daily', '?around=me&limit=100', '?limit=100', '?status=incoming', '?status=outgoing', '?status=blocked']
    const [{ display_name: name }] = await sql('select display_name from public.profiles where id = $1', [blocker.id])
    for (const path of plain) {
      for (const query of queries) {
        const [seen, own] = await Promise.all([viewer.api('GET', path + query), blocker.api('GET', path + query)])
        for (const secret of [...Object.values(names), name]) assert.ok(!seen.text.includes(secret), `${path}${query} shows ${secret}: ${seen.text.slice(0, 300)}`)
        if (!(path === '/social/friends' && query === '?status=blocked')) assert.ok(!own.text.includes(viewer.id), `${path}${query} shows the blocked user`)
      }
    }
    const board = ok(await viewer.api('GET', '/gamification/leaderboard?timeframe=daily&around=me&limit=100')).leaderboard
    assert.ok(board.some(row => row.masked && row.credits === board.find(one => one.is_current_user).credits), 'their row is masked, with their credits')
    assert.deepEqual(ok(await blocker.api('GET', '/social/friends?status=blocked')).friends.map(row => row.user.id), [viewer.id])
  })

  test('exists again once the block is removed', async () => {
    assert.equal((await viewer.api('GET', `/social/users/${names.username}`)).status, 404)
    ok(await blocker.api('DELETE', `/social/friends/${viewer.id}`))
    assert.equal(ok(await viewer.api('GET', `/social/users/${names.username}`)).id, blocker.id)
    assert.deepEqual(ok(await viewer.api('GET', '/social/friends')).friends, [])
  })
})
