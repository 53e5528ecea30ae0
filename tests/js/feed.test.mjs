// The feed over the edge, by rpc and by REST: what friends achieve, who sees it, pages, and that nothing names a person but
// their card.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { api, closeSql, differences, invalidField, ok, refused, rows, signInAnonymously, signInByPhone, sql, supabase } from './lib.mjs'

const entry = (more = {}) => ({ category_id: 'glass_bottles', disposal_method: 'reused', weight_kg: 0.5, ...more })
const create = async (someone, more = {}) => ok(await someone.api('POST', '/waste/entries', { body: entry(more) }), 201)
const daysAgo = days => new Date(Date.now() - days * 86_400_000).toISOString()
const feed = async (someone, query = '', options = {}) => ok(await someone.api('GET', `/social/feed${query}`, options)).items
const shown = items => items.map(item => `${item.is_me ? 'me' : item.user.display_name} ${item.activity_type} ${Object.values(item.data)[0]}`)
const of = (items, someone) => items.filter(item => item.user.id === someone.id)

/** Makes two users friends by the API. */
async function befriend(one, other) {
  const { request_id: id } = ok(await one.api('POST', '/social/friends/request', { body: { user_id: other.id } }), 201)
  ok(await other.api('PUT', `/social/friends/accept/${id}`))
}

describe('the feed', () => {
  let ann, bob, stranger
  before(async () => {
    [ann, bob, stranger] = await Promise.all([signInByPhone(), signInByPhone(), signInByPhone()])
    for (const [someone, name] of [[ann, 'Ann'], [bob, 'Bob']]) ok(await someone.api('PUT', '/user/profile', { body: { display_name: name } }))
    await befriend(ann, bob)
    await create(bob)
    await create(ann, { weight_kg: 100, category_id: 'plastic_bottles', disposal_method: 'recycled' })
  })
  after(closeSql)

  test('shows what the caller and their friends have achieved, newest first', async () => {
    const items = await feed(ann, '?limit=50')
    assert.deepEqual(shown(of(items, bob)), ['Bob achievement_unlocked first_scan'])
    assert.deepEqual(shown(of(items, ann)).filter(line => line.includes('tree_saved')).sort(), ['me tree_saved 1', 'me tree_saved 2', 'me tree_saved 3'])
    const times = items.map(item => Date.parse(item.created_at))
    assert.deepEqual(times, times.toSorted((one, other) => other - one))
    assert.deepEqual(await feed(stranger), [], 'a stranger sees nothing')
    assert.deepEqual([await differences(ann), await differences(bob)], [[], []])
  })

  test('an item holds ids and numbers; the name comes from the card when it is read', async () => {
    const [before] = of(await feed(ann), bob)
    assert.deepEqual(Object.keys(before).sort(), ['activity_type', 'created_at', 'data', 'id', 'is_me', 'user'])
    ok(await bob.api('PUT', '/user/profile', { body: { display_name: 'Robert' } }))
    const [renamed] = of(await feed(ann, '', { lang: 'en' }), bob)
    assert.deepEqual([renamed.id, renamed.user.display_name, renamed.user.level_name], [before.id, 'Robert', 'Eco Beginner'])
    const stored = await sql('select activity_data::text as data from public.activity_feed where user_id = $1', [bob.id])
    assert.ok(stored.every(row => !row.data.includes('Bob')))
    ok(await bob.api('PUT', '/user/profile', { body: { display_name: 'Bob' } }))
  })

  test('is the same by both paths, by rpc, and in pages', async () => {
    const all = await feed(ann, '?limit=50')
    assert.deepEqual(ok(await ann.api('GET', '/gamification/feed?limit=50')).items, all)
    const byRpc = rows(await supabase(ann).rpc('get_feed', { page_size: 50 })).items
    assert.deepEqual(byRpc.map(item => item.id), all.map(item => item.id))
    const paged = []
    for (let cursor; cursor !== null;) {
      const answer = await ann.api('GET', `/social/feed?limit=2${cursor ? `&cursor=${cursor}` : ''}`)
      paged.push(...ok(answer).items)
      assert.equal(answer.meta.limit, 2)
      cursor = answer.meta.next_cursor
    }
    assert.deepEqual(paged, all)
  })

  test('is private, has a tag, and is not sent again while nothing changes', async () => {
    const first = await ann.api('GET', '/social/feed')
    ok(first)
    assert.equal(first.headers.get('cache-control'), 'private, no-cache')
    const again = await ann.api('GET', '/social/feed', { headers: { 'if-none-match': first.headers.get('etag') } })
    assert.deepEqual([again.status, again.text], [304, ''])
    for (let day = 1; day < 7; day++) await create(bob, { logged_at: daysAgo(day) })
    const changed = await ann.api('GET', '/social/feed', { headers: { 'if-none-match': first.headers.get('etag') } })
    assert.ok(shown(ok(changed).items).includes('Bob streak 7'), 'what a friend achieves changes it')
  })

  test('what is lost disappears, and returns at its old place', async () => {
    const [before] = of(await feed(ann), bob).filter(item => item.activity_type === 'streak')
    const list = ok(await bob.api('GET', '/waste/entries?limit=50')).entries
    const third = list.find(one => one.logged_at.slice(0, 13) === daysAgo(3).slice(0, 13))
    ok(await bob.api('DELETE', `/waste/entries/${third.id}`))
    assert.ok(!shown(await feed(ann)).includes('Bob streak 7'))
    await create(bob, { logged_at: daysAgo(3) })
    const [back] = of(await feed(ann), bob).filter(item => item.activity_type === 'streak')
    assert.deepEqual([back.id, back.created_at], [before.id, before.created_at])
  })

  test('an old diary brings nothing into the feed', async () => {
    const before = shown(await feed(ann, '?limit=50'))
    const payload = { waste_entries: Array.from({ length: 40 }, (_, day) => ({ ...entry({ weight_kg: 100 }), logged_at: daysAgo(day + 10) })) }
    assert.equal(ok(await bob.api('POST', '/user/migrate-local', { body: payload })).migrated_entries, 40)
    assert.deepEqual(shown(await feed(ann, '?limit=50')), before)
    const history = rows(await supabase(bob).from('credit_history').select('source, source_id, name_en').in('source', ['tree', 'streak']))
    assert.ok(history.some(row => row.source === 'streak' && row.name_en === '30-day streak'), 'but the ledger has it')
  })

  test('stricter privacy hides what was open, to everybody but oneself', async () => {
    ok(await bob.api('PUT', '/user/profile', { body: { privacy_level: 3 } }))
    assert.deepEqual(of(await feed(ann, '?limit=50'), bob), [])
    assert.ok((await feed(bob)).length > 0)
    ok(await bob.api('PUT', '/user/profile', { body: { privacy_level: 1 } }))
    assert.ok(of(await feed(ann), bob).length > 0)
  })

  test('a removed friend’s items do not stay', async () => {
    ok(await ann.api('DELETE', `/social/friends/${bob.id}`))
    assert.deepEqual([of(await feed(ann, '?limit=50'), bob), of(await feed(bob, '?limit=50'), ann)], [[], []])
    await befriend(bob, ann)
    ok(await bob.api('PUT', `/social/friends/block/${ann.id}`))
    assert.deepEqual([of(await feed(ann, '?limit=50'), bob), of(await feed(bob, '?limit=50'), ann)], [[], []])
  })

  test('REST shows users their own rows alone', async () => {
    const own = rows(await supabase(ann).from('activity_feed').select('user_id'))
    assert.ok(own.length > 0 && own.every(row => row.user_id === ann.id))
  })

  test('refuses what is no page', async () => {
    for (const limit of ['0', '51', 'x']) assert.equal(invalidField(await ann.api('GET', `/social/feed?limit=${limit}`), 'limit').code, 'limit_invalid')
    for (const cursor of ['x', 'aW5maW5pdHksYQ', 'MjAyNi0wMi0zMSwx']) {
      assert.equal(invalidField(await ann.api('GET', `/social/feed?cursor=${cursor}`), 'cursor').code, 'cursor_invalid')
    }
    refused(await api('GET', '/social/feed'), 401, 'AUTH_REQUIRED')
    assert.deepEqual(await feed(await signInAnonymously()), [], 'without an account one has no friends')
  })
})
