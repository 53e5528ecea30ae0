// Public answers are cached for a while and shared by signed-out visitors; personal ones never reach anybody else,
// regardless of what a caller tries.
import { before, after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import pg from 'pg'
import { api, closeSql, env, ok, refused, signInAnonymously, signInByPhone, signToken, sleep, supabase, uuid, boardsKnow } from './lib.mjs'

const entry = (more = {}) => ({ category_id: 'metal_cans', disposal_method: 'recycled', weight_kg: 0.5, ...more })
/** Boards that no other test requests: the page size is part of the cache's key. */
let size = 40 + Math.floor(Math.random() * 20)
const freshBoard = (more = '') => `/gamification/leaderboard?limit=${size++}${more}`
const asOf = answer => ok(answer).as_of
const maxAge = answer => Number(/^public, max-age=(\d+)$/.exec(answer.headers.get('cache-control'))?.[1])

describe('how long public answers are cached', () => {
  after(closeSql)

  test('boards: ten seconds, then a new one', async () => {
    const board = freshBoard()
    const first = await api('GET', board)
    assert.equal(maxAge(first), 10)
    await sleep(1200)
    const again = await api('GET', board)
    assert.equal(asOf(again), asOf(first))
    assert.ok(maxAge(again) < 10, `${maxAge(again)} s are left`)
    await sleep(Math.max(0, Date.parse(asOf(first)) + 10_400 - Date.now()))
    assert.notEqual(asOf(await api('GET', board)), asOf(first))
  })

  test('boards: while the database is stuck the last answer is served, with its as_of', async () => {
    const board = freshBoard()
    const first = await api('GET', board)
    await sleep(Math.max(0, Date.parse(asOf(first)) + 10_300 - Date.now()))
    const holder = new pg.Client({ connectionString: env.DB_URL })
    await holder.connect()
    try {
      await holder.query('begin')
      await holder.query('lock table private.user_state in access exclusive mode')
      const [old, never] = await Promise.all([api('GET', board), api('GET', freshBoard())])
      assert.equal(asOf(old), asOf(first))
      assert.equal(maxAge(old), 0)
      refused(never, 503, 'SERVICE_UNAVAILABLE')
    } finally {
      await holder.query('rollback')
      await holder.end()
    }
    assert.notEqual(asOf(await api('GET', board)), asOf(first))
  })

  test('categories: a day, in each language', async () => {
    for (const lang of ['th', 'en']) {
      const answer = await api('GET', '/waste/categories', { lang })
      assert.equal(maxAge(answer), 86_400)
      assert.match(answer.headers.get('vary'), /Accept-Language/)
      const tag = answer.headers.get('etag')
      const notModified = await api('GET', '/waste/categories', { lang, headers: { 'if-none-match': tag } })
      assert.deepEqual([notModified.status, notModified.text, notModified.headers.get('etag')], [304, '', tag])
      ok(await api('GET', '/waste/categories', { lang: lang === 'th' ? 'en' : 'th', headers: { 'if-none-match': tag } }))
    }
  })

  test('the API description: an hour', async () => {
    const answer = await api('GET', '/openapi.json')
    assert.equal(maxAge(answer), 3_600)
    assert.equal((await api('GET', '/openapi.json', { headers: { 'if-none-match': answer.headers.get('etag') } })).status, 304)
  })

  test('personal answers are revalidated; writes and refusals are not stored', async () => {
    const someone = await signInAnonymously()
    for (const route of ['/user/profile', '/gamification/profile', '/waste/entries', '/waste/stats/daily', '/user/sync/status',
      '/gamification/achievements', '/gamification/challenges/today', '/gamification/challenges/history',
      '/gamification/leaderboard?type=friends', '/gamification/leaderboard', '/waste/leaderboard']) {
      const answer = await someone.api('GET', route)
      ok(answer)
      assert.equal(answer.headers.get('cache-control'), 'private, no-cache', route)
      assert.match(answer.headers.get('vary'), /Authorization/, route)
    }
    assert.equal((await someone.api('POST', '/waste/entries', { body: entry() })).headers.get('cache-control'), 'no-store')
    assert.equal((await api('GET', '/user/profile')).headers.get('cache-control'), 'no-store')
    assert.equal((await api('GET', '/gamification/leaderboard?limit=0')).headers.get('cache-control'), 'no-store')
  })

  test('equivalent queries share a cached board; different ones do not', async () => {
    const limit = size++
    const first = asOf(await api('GET', `/gamification/leaderboard?limit=${limit}&page=1`))
    for (const words of [`page=1&limit=${limit}`, `type=global&limit=${limit}&page=1`, `timeframe=all_time&page=1&limit=${limit}&cursor=`,
      `limit=${limit}&page=1&province=TH-10`, `limit=${limit}&page=1&utm_source=x`]) {
      assert.equal(asOf(await api('GET', `/waste/leaderboard?${words}`)), first, words)
    }
    for (const words of [`limit=${limit}`, `limit=${limit}&page=2`, `limit=${limit}&page=1&timeframe=daily`, `limit=${limit}&page=1&type=province&province=TH-10`]) {
      assert.notEqual(asOf(await api('GET', `/waste/leaderboard?${words}`)), first, words)
    }
  })
})

describe('a user who hides', () => {
  let someone
  before(async () => {
    someone = await signInByPhone()
    ok(await someone.api('PUT', '/user/profile', { body: { display_name: `ซ่อน ${uuid()}`, province: 'TH-58' } }))
    ok(await someone.api('POST', '/waste/entries', { body: entry({ weight_kg: 50 }) }), 201)
    await boardsKnow()
  })
  after(closeSql)
  const shown = async board => ok(await api('GET', board)).leaderboard.some(row => row.user_id === someone.id)

  for (const [name, hide, show] of [
    ['by privacy level', { privacy_level: 3 }, { privacy_level: 1 }],
    ['by visibility', { visible_in_leaderboard: false }, { visible_in_leaderboard: true }],
  ]) {
    test(`${name} is off every cached board at once`, async () => {
      const boards = [freshBoard('&type=province&province=TH-58'), freshBoard('&type=province&province=TH-58&timeframe=weekly')]
      for (const board of boards) assert.equal(await shown(board), true)
      ok(await someone.api('PUT', '/user/profile', { body: hide }))
      for (const board of boards) assert.equal(await shown(board), false, board)
      ok(await someone.api('PUT', '/user/profile', { body: show }))
      await boardsKnow()
      for (const board of boards) assert.equal(await shown(board), true, 'and coming back is seen as soon as boards know of it')
    })
  }

  test('directly in the database is off the boards within ten seconds', async () => {
    const board = freshBoard('&type=province&province=TH-58')
    assert.equal(await shown(board), true)
    await supabase(someone).from('profiles').update({ visible_in_leaderboard: false }).eq('id', someone.id)
    await sleep(10_300)
    assert.equal(await shown(board), false)
  })
})

describe('another\'s answer', () => {
  let one, two, made
  before(async () => {
    [one, two] = await Promise.all([signInByPhone(), signInByPhone()])
    for (const [someone, name] of [[one, 'หนึ่ง'], [two, 'สอง']]) {
      ok(await someone.api('PUT', '/user/profile', { body: { display_name: `${name} ${uuid()}`, privacy_level: 2, province: 'TH-58' } }))
    }
    made = ok(await one.api('POST', '/waste/entries', { body: entry({ notes: `ลับ ${uuid()}` }) }), 201)
    ok(await two.api('POST', '/waste/entries', { body: entry() }), 201)
  })
  after(closeSql)
  const secrets = () => [one.id, one.phone.e164, made.id, made.notes]
  const clean = (answer, where) => {
    for (const secret of secrets()) assert.ok(!answer.text.includes(secret), `${where} shows ${secret}`)
    assert.notEqual(answer.status, 304, where)
  }

  test('is never served, by token, tag, query, language, method or form of authorization', async () => {
    const routes = ['/user/profile', '/gamification/profile', '/waste/entries?limit=7', `/waste/entries/${made.id}`, '/waste/stats/daily', '/waste/stats/monthly',
      '/waste/stats/category', '/user/sync/status', '/gamification/achievements', '/gamification/challenges/today', '/gamification/challenges/history?limit=7', '/gamification/leaderboard?limit=7', '/waste/leaderboard?around=me&limit=7', '/gamification/leaderboard?type=friends&limit=7',
      '/gamification/leaderboard?type=province&province=TH-58&limit=7']
    const claims = { ...two.claims }
    for (const route of routes) {
      // The owner requests first, so that everything that can be cached is cached.
      const own = await one.api('GET', route)
      const tag = own.headers.get('etag')
      ok(own)
      const mark = route.includes('?') ? '&' : '?'
      const tries = {
        'nobody': {}, 'nobody with the tag': { headers: { 'if-none-match': tag } }, 'nobody with any tag': { headers: { 'if-none-match': '"x", W/"y"' } },
        'another': { token: two.token }, 'another with the tag': { token: two.token, headers: { 'if-none-match': tag } },
        'another in English': { token: two.token, lang: 'en', headers: { 'if-none-match': tag } },
        'an unsigned token': { token: `${one.token.split('.').slice(0, 2).join('.')}.` }, 'a foreign key': { token: signToken(one.claims, { secret: 'x'.repeat(40) }) },
        'no algorithm': { token: signToken(one.claims, { header: { alg: 'none' } }) }, 'an expired token': { token: signToken({ ...one.claims, exp: 1 }) },
        'an empty bearer': { headers: { authorization: 'Bearer ' } }, 'basic': { headers: { authorization: `Basic ${one.token}` } },
        'the token in the query': { query: `access_token=${one.token}&apikey=${one.token}&user_id=${one.id}` },
        'the id in a header': { headers: { 'x-user-id': one.id, 'x-forwarded-user': one.id, 'cache-control': 'only-if-cached', range: 'bytes=0-9' } },
        'another user in claims': { token: signToken({ ...claims, user_metadata: { sub: one.id }, sub: two.id }) },
      }
      for (const [name, { query, ...options }] of Object.entries(tries)) {
        const path = query ? `${route}${mark}${query}` : route
        for (const method of ['GET', 'HEAD']) clean(await api(method, path, options), `${name}: ${method} ${route}`)
      }
    }
  })

  test('is not left behind on a public board by a signed-in call before it', async () => {
    const board = freshBoard('&type=province&province=TH-58')
    const own = ok(await one.api('GET', board))
    assert.equal(own.current_user.credits > 0, true)
    const visitor = ok(await api('GET', board))
    assert.equal(visitor.current_user, null)
    assert.ok(visitor.leaderboard.every(row => row.is_current_user === false && row.is_friend === false))
    assert.ok(visitor.leaderboard.some(row => row.masked === true && row.user_id === null))
    const again = ok(await one.api('GET', board))
    assert.ok(again.leaderboard.some(row => row.is_current_user === true), 'nor does the signed-out visitor\'s board reach a signed-in user')
  })

  test('a token that is refused does not fall back to the public board', async () => {
    const board = freshBoard()
    ok(await api('GET', board))
    refused(await api('GET', board, { token: `${one.token}x` }), 401, 'AUTH_INVALID')
    refused(await api('GET', board, { headers: { authorization: 'Basic x' } }), 401, 'AUTH_INVALID')
  })

  test('languages do not mix', async () => {
    const board = freshBoard('&type=province&province=TH-58')
    const names = async lang => ok(await api('GET', board, { lang })).leaderboard.map(row => row.level_name).join()
    const [thai, english, thaiAgain] = [await names('th'), await names('en'), await names('th')]
    assert.notEqual(thai, english)
    assert.equal(thaiAgain, thai)
  })
})
