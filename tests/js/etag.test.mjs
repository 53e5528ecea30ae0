// ETag: personal answers are requested again and again, but sent only when something changed, no matter who changed it.
import { before, after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { api, bangkokDay, closeSql, env, ok, refused, rows, signInAnonymously, signInByPhone, sql, sqlAs, supabase, uuid, boardsKnow } from './lib.mjs'

const entry = (more = {}) => ({ category_id: 'metal_cans', disposal_method: 'recycled', weight_kg: 0.5, ...more })
const ROUTES = ['/user/profile', '/gamification/profile', '/waste/entries', '/waste/entries?limit=1', '/waste/stats/daily', '/waste/stats/monthly',
  '/waste/stats/category', '/user/sync/status', '/gamification/achievements', '/gamification/challenges/today',
  '/gamification/challenges/history', '/gamification/challenges/history?limit=1', '/gamification/leaderboard?type=friends', '/gamification/leaderboard', '/waste/leaderboard?around=me']

const tagOf = answer => {
  const tag = answer.headers.get('etag')
  assert.match(tag ?? '', /^W\/"[\x21\x23-\x7e]+"$/)
  return tag
}
const ask = (someone, route, tag, options = {}) => someone.api(options.method ?? 'GET', route, { ...options, headers: { 'if-none-match': tag } })
const unchanged = (answer, tag) => {
  assert.equal(answer.status, 304, answer.text.slice(0, 300))
  assert.equal(answer.text, '')
  assert.equal(answer.headers.get('etag'), tag)
  assert.equal(answer.headers.get('cache-control'), 'private, no-cache')
  assert.match(answer.headers.get('vary'), /Authorization/)
}

describe('a personal answer', () => {
  let someone, other, made
  before(async () => {
    [someone, other] = await Promise.all([signInByPhone(), signInAnonymously()])
    made = ok(await someone.api('POST', '/waste/entries', { body: entry() }), 201)
    ok(await other.api('POST', '/waste/entries', { body: entry() }), 201)
  })
  after(closeSql)
  const routes = () => [...ROUTES, `/waste/entries/${made.id}`]

  test('has a tag that stays the same while nothing changes, and is then not sent again', async () => {
    for (const route of routes()) {
      const [first, second] = [await someone.api('GET', route), await someone.api('GET', route)]
      ok(first)
      assert.equal(first.headers.get('cache-control'), 'private, no-cache', route)
      assert.equal(tagOf(second), tagOf(first), route)
      unchanged(await ask(someone, route, tagOf(first)), tagOf(first))
    }
  })

  test('has the same tag although its cursor differs at each read', async () => {
    const rival = await signInByPhone()
    ok(await rival.api('POST', '/waste/entries', { body: entry() }), 201)
    const route = '/gamification/leaderboard?limit=1'
    const [first, second] = [await someone.api('GET', route), await someone.api('GET', route)]
    assert.ok(first.meta.next_cursor)
    assert.notEqual(first.meta.next_cursor, second.meta.next_cursor)
    assert.equal(tagOf(first), tagOf(second))
    unchanged(await ask(someone, route, tagOf(first)), tagOf(first))
  })

  test('is compared weakly, in lists, with a star, for HEAD too', async () => {
    for (const route of routes()) {
      const tag = tagOf(await someone.api('GET', route))
      for (const value of [tag.slice(2), `"x", ${tag}`, `W/"y" ,${tag},"z"`, '*']) unchanged(await ask(someone, route, value), tag)
      const head = await ask(someone, route, tag, { method: 'HEAD' })
      unchanged(head, tag)
      for (const value of ['"x"', tag.slice(3, -1), '', '"', `${tag.slice(0, -2)}"`]) ok(await ask(someone, route, value))
    }
  })

  test('has another tag for another person, another language and a signed-out visitor', async () => {
    for (const route of ROUTES) {
      const tag = tagOf(await someone.api('GET', route, { lang: 'th' }))
      ok(await ask(other, route, tag, { lang: 'th' }))
      ok(await ask(someone, route, tag, { lang: 'en' }))
      const none = await api('GET', route, { headers: { 'if-none-match': tag }, lang: 'th' })
      assert.notEqual(none.status, 304, route)
    }
    const tag = tagOf(await someone.api('GET', `/waste/entries/${made.id}`))
    refused(await ask(other, `/waste/entries/${made.id}`, tag), 404, 'NOT_FOUND')
    refused(await ask(other, `/waste/entries/${made.id}`, '*'), 404, 'NOT_FOUND')
  })

  test('has a tag that matches no other request', async () => {
    const tag = tagOf(await someone.api('GET', '/waste/entries?limit=1'))
    ok(await ask(someone, '/waste/entries?limit=2', tag))
    ok(await ask(someone, '/waste/stats/daily?date=2025-01-01', tagOf(await someone.api('GET', '/waste/stats/daily'))))
  })

  const ways = [
    ['an entry by the edge', () => someone.api('POST', '/waste/entries', { body: entry() })],
    ['an entry by REST', async () => rows(await supabase(someone).from('waste_entries').insert(entry()))],
    ['an entry by rpc', async () => rows(await supabase(someone).rpc('create_waste_entry', { entry: entry() }))],
    ['an update by the edge', () => someone.api('PUT', `/waste/entries/${made.id}`, { body: { weight_kg: Math.random() * 50 + 1 } })],
    ['an update by REST', async () => rows(await supabase(someone).from('waste_entries').update({ weight_kg: 3.25 }).eq('id', made.id))],
    ['an update by SQL', () => sqlAs(someone, 'update public.waste_entries set weight_kg = 4.5 where id = $1', [made.id])],
    ['an operator\'s SQL', () => sql('update public.waste_entries set notes = $2 where user_id = $1', [someone.id, uuid()])],
    ['a migration', () => someone.api('POST', '/user/migrate-local', { body: { waste_entries: [{ ...entry(), logged_at: bangkokDay() + 'T00:00:00+07:00', offline_id: uuid() }] } })],
  ]
  for (const [name, change] of ways) {
    test(`has a new tag after ${name}`, async () => {
      const own = routes().filter(route => route !== '/user/profile')
      const tags = await Promise.all(own.map(async route => tagOf(await someone.api('GET', route))))
      const notesOnly = name.startsWith('an operator')
      await change()
      for (const [i, route] of own.entries()) {
        // Challenges count a day's entries without imported ones.
        if (/challenges/.test(route) && /update|operator|migration/.test(name)) continue
        const ranks = /leaderboard|gamification/.test(route)
        if (notesOnly && ranks) continue
        const answer = await ask(someone, route, tags[i])
        ok(answer)
        assert.notEqual(tagOf(answer), tags[i], route)
      }
    })
  }

  test('has a new tag after a change of profile or preferences by any interface', async () => {
    for (const change of [
      () => someone.api('PUT', '/user/profile', { body: { display_name: uuid() } }),
      () => someone.api('PUT', '/user/profile', { body: { theme: `t${Date.now()}` } }),
      async () => rows(await supabase(someone).from('profiles').update({ district: uuid() }).eq('id', someone.id)),
      async () => rows(await supabase(someone).from('user_preferences').update({ daily_goal: Date.now() % 100_000 + 1 }).eq('user_id', someone.id)),
      () => sql('update public.profiles set avatar_url = $2 where id = $1', [someone.id, uuid()]),
    ]) {
      const tag = tagOf(await someone.api('GET', '/user/profile'))
      await change()
      const answer = await ask(someone, '/user/profile', tag)
      assert.notEqual(tagOf(answer), tag)
      ok(answer)
    }
  })

  test('of devices has a new tag when a device was seen', async () => {
    const tag = tagOf(await someone.api('GET', '/user/sync/status'))
    ok(await someone.api('POST', '/user/sync/request', { body: { since_revision: 0, device_id: `d-${uuid()}` } }))
    ok(await ask(someone, '/user/sync/status', tag))
  })

  test('of today has a new tag when the person\'s date changes', async () => {
    const tag = tagOf(await someone.api('GET', '/waste/stats/daily'))
    // There is always a zone on Earth with another date than Bangkok.
    const zone = ['Pacific/Kiritimati', 'Pacific/Pago_Pago'].find(name => new Intl.DateTimeFormat('en-CA', { timeZone: name }).format() !== bangkokDay())
    ok(await someone.api('PUT', '/user/profile', { body: { time_zone: zone } }))
    const there = await ask(someone, '/waste/stats/daily', tag)
    assert.notEqual(ok(there).date, bangkokDay())
  })

  test('of ranks has a new tag when another user changes them', async () => {
    const tag = tagOf(await someone.api('GET', '/gamification/profile'))
    const rival = await signInByPhone()
    ok(await rival.api('POST', '/waste/entries', { body: entry({ weight_kg: 100 }) }), 201)
    await boardsKnow()
    assert.notEqual(tagOf(await someone.api('GET', '/gamification/profile')), tag)
  })

  test('of a deleted entry is not found, regardless of the tag that is sent', async () => {
    const extra = ok(await someone.api('POST', '/waste/entries', { body: entry() }), 201)
    const tag = tagOf(await someone.api('GET', `/waste/entries/${extra.id}`))
    ok(await someone.api('DELETE', `/waste/entries/${extra.id}`))
    refused(await ask(someone, `/waste/entries/${extra.id}`, tag), 404, 'NOT_FOUND')
  })

  test('answers to writes have no tag', async () => {
    const answer = await someone.api('POST', '/waste/entries', { body: entry(), headers: { 'if-none-match': '*' } })
    ok(answer, 201)
    assert.equal(answer.headers.get('etag'), null)
    assert.equal(answer.headers.get('cache-control'), 'no-store')
  })

  test('tags are exposed to pages of allowed origins', async () => {
    const response = await fetch(`${env.API_URL}/api/v1/user/profile`, { headers: { authorization: `Bearer ${someone.token}`, origin: 'http://localhost:5173' } })
    assert.match(response.headers.get('access-control-expose-headers'), /ETag.*Idempotent-Replayed/)
  })
})
