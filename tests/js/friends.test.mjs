// Friends, requests, blocks and cards through the Worker, supabase-js and Realtime, with one meaning everywhere.
import { after, afterEach, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { api, boardsKnow, closeSql, invalidField, ok, refused, rows, signInAnonymously, signInByPhone, sql, supabase, uuid } from './lib.mjs'
import { hangUp, join, listener, topicOf } from './realtime-fixtures.mjs'

const entry = (more = {}) => ({ category_id: 'metal_cans', disposal_method: 'recycled', weight_kg: 0.5, ...more })
const nameOf = letter => `${letter}.${uuid().slice(0, 18)}`

/** A user with an account and a name. */
async function named(letter, more = {}) {
  const someone = await signInByPhone()
  someone.username = nameOf(letter)
  ok(await someone.api('PUT', '/user/profile', { body: { username: someone.username, display_name: `ชื่อ ${letter}`, province: 'TH-10', ...more } }))
  return someone
}
const ask = (someone, body, options = {}) => someone.api('POST', '/social/friends/request', { body, ...options })
const listed = async (someone, list) => ok(await someone.api('GET', `/social/friends?status=${list}`)).friends.map(row => row.user.id)

/** Makes two users friends and returns the request's id. */
async function befriend(one, other) {
  const { request_id: id } = ok(await ask(one, { username: other.username }), 201)
  ok(await other.api('PUT', `/social/friends/accept/${id}`))
  return id
}

describe('friends', () => {
  let ann, bob
  before(async () => { [ann, bob] = await Promise.all([named('a'), named('b', { privacy_level: 2 })]) })
  afterEach(hangUp)
  after(closeSql)

  test('ask and accept, through the Worker and supabase-js, with events on both sides', async () => {
    const [heardByBob, heardByAnn] = [await join(await listener(bob), topicOf(bob, 'friends')), await join(await listener(ann), topicOf(ann, 'friends'))]
    const asked = ok(await ask(ann, { username: bob.username.toUpperCase() }), 201)
    assert.equal(asked.status, 'pending')
    assert.deepEqual(asked.user, { id: bob.id, display_name: 'ชื่อ b', avatar_url: null, province: null, level: null, level_name: null, credits: null, daily_streak: null })
    const { payload, meta } = await heardByBob.event('friend_request')
    assert.deepEqual(payload, { id: meta.id, request_id: asked.request_id, user_id: ann.id })

    const again = ok(await ask(ann, { user_id: bob.id }), 200)
    assert.deepEqual([again.request_id, again.status, again.duplicate], [asked.request_id, 'pending', true])
    assert.deepEqual([await listed(ann, 'outgoing'), await listed(bob, 'incoming'), await listed(bob, 'outgoing')], [[bob.id], [ann.id], []])

    assert.deepEqual(rows(await supabase(bob).rpc('accept_friend', { request_id: asked.request_id })), { request_id: asked.request_id, status: 'accepted' })
    await heardByAnn.event('friend_accepted')
    assert.deepEqual([heardByAnn.events.length, heardByBob.events.length], [1, 1])
    const [friend] = ok(await ann.api('GET', '/social/friends', { lang: 'en' })).friends
    assert.deepEqual([friend.request_id, friend.status, friend.user.id, friend.user.province, friend.user.level, friend.user.level_name, friend.user.credits],
      [asked.request_id, 'accepted', bob.id, 'TH-10', 1, 'Eco Beginner', 0])
    assert.deepEqual(ok(await bob.api('GET', '/gamification/friends')).friends.map(row => row.user.id), [ann.id])
    assert.deepEqual(rows(await supabase(ann).from('friendships').select('requester_id, addressee_id, status')), [{ requester_id: ann.id, addressee_id: bob.id, status: 'accepted' }])
  })

  test('are named on boards whatever their privacy level 2, and marked', async () => {
    for (const someone of [ann, bob]) ok(await someone.api('POST', '/waste/entries', { body: entry({ weight_kg: 90 }) }), 201)
    await boardsKnow()
    const board = ok(await ann.api('GET', '/gamification/leaderboard?type=friends&timeframe=daily')).leaderboard
    assert.deepEqual(board.map(row => [row.user_id, row.is_friend, row.masked]).sort(), [[ann.id, false, false], [bob.id, true, false]].sort())
    const around = ok(await ann.api('GET', '/gamification/leaderboard?timeframe=daily&around=me&limit=100')).leaderboard
    assert.ok(around.some(row => row.user_id === bob.id && row.is_friend && !row.masked))
    assert.ok(!ok(await api('GET', '/gamification/leaderboard?timeframe=daily&limit=100')).leaderboard.some(row => row.user_id === bob.id))
  })

  test('a list has a tag that changes with the friends and with what they do', async () => {
    const route = '/social/friends'
    const tag = (await ann.api('GET', route)).headers.get('etag')
    assert.equal((await ann.api('GET', route, { headers: { 'if-none-match': tag } })).status, 304)
    ok(await bob.api('POST', '/waste/entries', { body: entry() }), 201)
    assert.equal((await ann.api('GET', route, { headers: { 'if-none-match': tag } })).status, 200)
  })

  test('a write with an Idempotency-Key is done once and answers the same', async () => {
    const cat = await named('c')
    const headers = { 'idempotency-key': uuid() }
    const first = await ask(ann, { username: cat.username }, { headers })
    const second = await ask(ann, { username: cat.username }, { headers })
    assert.deepEqual([first.status, second.status, second.headers.get('idempotent-replayed')], [201, 201, 'true'])
    assert.deepEqual(ok(second, 201), ok(first, 201))
    refused(await ask(ann, { user_id: cat.id }, { headers }), 409, 'CONFLICT')
    ok(await ann.api('DELETE', `/social/friends/${cat.id}`, { headers }))
    assert.equal((await ann.api('DELETE', `/social/friends/${cat.id}`, { headers })).status, 200)
    refused(await ann.api('DELETE', `/social/friends/${cat.id}`), 404, 'NOT_FOUND')
  })

  test('a decline is not told, and a removed friend is gone for both', async () => {
    const dan = await named('d')
    const { request_id: id } = ok(await ask(dan, { username: ann.username }), 201)
    assert.deepEqual(ok(await ann.api('PUT', `/social/friends/reject/${id}`)), { request_id: id, status: 'rejected' })
    refused(await ann.api('PUT', `/social/friends/accept/${id}`), 404, 'NOT_FOUND')
    assert.deepEqual([await listed(dan, 'outgoing'), await listed(ann, 'incoming')], [[ann.id], []])
    const eve = await named('e')
    await befriend(eve, ann)
    assert.deepEqual(ok(await ann.api('DELETE', `/social/friends/${eve.id}`)), { user_id: eve.id, status: 'none' })
    assert.deepEqual(await listed(eve, 'accepted'), [])
  })

  test('people are found by name or by their code and link', async () => {
    const fay = await named('f', { privacy_level: 3 })
    refused(await ann.api('GET', `/social/users/${fay.username}`), 404, 'NOT_FOUND')
    const { code, link } = ok(await fay.api('POST', '/social/friends/code'))
    assert.match(code, /^[2-9A-HJKMNP-Z]{10}$/)
    assert.ok(link.endsWith(`/friends/${code}`), link)
    assert.deepEqual(ok(await fay.api('POST', '/social/friends/code', { body: { renew: false } })), { code, link })
    const card = ok(await ann.api('GET', `/social/users/${code.slice(0, 5).toLowerCase()}-${code.slice(5)}`))
    assert.deepEqual([card.id, card.display_name, card.level], [fay.id, 'ชื่อ f', null])
    assert.equal(ok(await ann.api('GET', `/social/users/${encodeURIComponent(bob.username)}`)).id, bob.id)
    ok(await ask(ann, { code }), 201)
    assert.notEqual(ok(await fay.api('POST', '/social/friends/code', { body: { renew: true } })).code, code)
    refused(await ann.api('GET', `/social/users/${code}`), 404, 'NOT_FOUND')
    for (const odd of ['%00', '%FF', 'a%2Fb', encodeURIComponent('ส้ม'), 'x'.repeat(300)]) refused(await ann.api('GET', `/social/users/${odd}`), 404, 'NOT_FOUND')
  })

  test('an anonymous user needs an account, and is told so', async () => {
    const ghost = await signInAnonymously()
    for (const answer of [await ask(ghost, { username: ann.username }), await ghost.api('PUT', `/social/friends/block/${ann.id}`), await ghost.api('POST', '/social/friends/code')]) {
      assert.deepEqual(refused(answer, 403, 'PERMISSION_DENIED').details, { reason: 'account_required' })
    }
    assert.equal(ok(await ghost.api('GET', `/social/users/${ann.username}`)).id, ann.id)
    refused(await ask(ann, { user_id: ghost.id }), 404, 'NOT_FOUND')
  })

  test('what is sent wrongly is named', async () => {
    assert.equal(invalidField(await ask(ann, {}), 'user_id').code, 'person_required')
    assert.equal(invalidField(await ask(ann, { username: ann.username }), 'user_id').code, 'self_request')
    assert.equal(invalidField(await ask(ann, { user_id: 'x' }), 'user_id').code, 'user_id_invalid')
    assert.equal(invalidField(await ask(ann, { username: 7 }), 'username').code, 'not_text')
    assert.equal(invalidField(await ann.api('PUT', '/social/friends/accept/x'), 'request_id').code, 'request_id_invalid')
    assert.equal(invalidField(await ann.api('PUT', '/social/friends/block/x'), 'user_id').code, 'user_id_invalid')
    assert.equal(invalidField(await ann.api('GET', '/social/friends?status=all'), 'status').code, 'friend_status_invalid')
    assert.equal(invalidField(await ann.api('GET', '/social/friends?limit=101'), 'limit').code, 'limit_invalid')
    assert.equal(invalidField(await ann.api('GET', '/gamification/friends?cursor=x'), 'cursor').code, 'cursor_invalid')
    assert.equal(invalidField(await ann.api('POST', '/social/friends/code', { body: { renew: 'yes' } }), 'renew').code, 'flag_invalid')
    refused(await api('GET', '/social/friends'), 401, 'AUTH_REQUIRED')
  })

  test('a deleted account leaves every list, and its friends can go on', async () => {
    const gus = await named('g')
    await befriend(gus, ann)
    await sql('delete from auth.users where id = $1', [gus.id])
    assert.ok(!(await listed(ann, 'accepted')).includes(gus.id))
    refused(await ask(ann, { username: gus.username }), 404, 'NOT_FOUND')
    refused(await ann.api('DELETE', `/social/friends/${gus.id}`), 404, 'NOT_FOUND')
  })
})
