// Exact rates: of simultaneous requests the nth is let in and the next is not, by user and by connecting address.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { refused, uuid } from './lib.mjs'
import { call, freshAddress, letIn, limited, rewriteObjects, someone, startWorker } from './limits-fixtures.mjs'

const entry = () => ({ category_id: 'food_waste', disposal_method: 'reduced', weight_kg: 1, offline_id: uuid() })

describe('a signed-in user', () => {
  test('creates exactly 60 entries an hour, from any address, and other users are not affected', async () => {
    const [one, other] = [await someone(), await someone()]
    const create = who => () => who('POST', '/waste/entries', { body: entry(), from: freshAddress() })
    assert.equal(await letIn(100, 60, create(one)), 60)
    limited(await create(one)(), 60, { within: 3600 })
    assert.equal((await create(other)()).status, 201)
    // Reads and batches are counted apart.
    assert.equal((await one('GET', '/waste/entries')).status, 200)
    assert.equal((await one('POST', '/waste/entries/batch', { body: { entries: [entry()] } })).status, 200)
  })

  test('sends exactly 10 batches an hour', async () => {
    const one = await someone()
    assert.equal(await letIn(25, 10, () => one('POST', '/waste/entries/batch', { body: { entries: [entry()] } }), 2), 10)
  })

  test('imports exactly 10 times an hour, dry runs and roll-backs among them', async () => {
    const one = await someone()
    const dump = { local_storage: { wasteEntries: '[]' } }
    const kinds = [() => one('POST', '/user/migrate-local', { body: dump }), () => one('POST', '/user/migrate-local?dry_run=true', { body: dump }),
      () => one('DELETE', `/user/migrate-local/${uuid()}`)]
    assert.equal(await letIn(30, 10, n => kinds[n % 3](), 1), 10)
  })

  test('reads boards 120 times an hour, under both paths together', async () => {
    const one = await someone()
    const paths = ['/waste/leaderboard', '/gamification/leaderboard']
    assert.equal(await letIn(150, 120, n => one('GET', paths[n % 2], { from: freshAddress() })), 120)
    // Signed-out visitors are counted by address.
    assert.equal((await call('GET', paths[0])).status, 200)
  })

  test('asks exactly 20 times an hour to be friends, under both paths together, and looks 30 people up', async () => {
    const one = await someone()
    const paths = ['/social/friends/request', '/gamification/friends/add']
    assert.equal(await letIn(30, 20, n => one('POST', paths[n % 2], { body: { user_id: uuid() }, from: freshAddress() })), 20)
    assert.equal(await letIn(40, 30, () => one('GET', `/social/users/n.${uuid().slice(0, 18)}`, { from: freshAddress() })), 30)
    // Answering and reading are counted apart.
    assert.equal((await one('PUT', `/social/friends/accept/${uuid()}`, { from: freshAddress() })).status, 404)
    assert.equal((await one('GET', '/social/friends', { from: freshAddress() })).status, 200)
  })

  test('is counted before the body is read', async () => {
    const one = await someone()
    assert.equal(await letIn(70, 60, () => one('POST', '/waste/entries', { raw: '{', from: freshAddress() })), 60)
  })
})

describe('a connecting address', () => {
  for (const [area, path, limit] of [['waste', '/waste/categories', 100], ['gamification', '/gamification/leaderboard', 200]]) {
    test(`calls ${area} ${limit} times a minute`, async () => {
      const from = freshAddress()
      assert.equal(await letIn(limit + 50, limit, () => call('GET', path, { from })), limit)
      limited(await call('GET', path, { from }), limit, { within: 60 })
      assert.equal((await call('GET', path)).status, 200, 'another address is free')
    })
  }

  test('calls sign-in and account together 60 times a minute', async () => {
    const [from, one] = [freshAddress(), await someone()]
    const kinds = [() => call('POST', '/auth/refresh', { from, body: { refresh_token: 'x' } }), () => one('GET', '/user/profile', { from })]
    assert.equal(await letIn(100, 60, n => kinds[n % 2]()), 60)
    // Other areas, health and the hook are not part of it.
    assert.equal((await call('GET', '/waste/categories', { from })).status, 200)
    assert.equal((await call('GET', '/health', { from })).status, 200)
    assert.equal((await call('POST', '/hooks/send-sms', { from, body: {} })).status, 401)
  })

  test('creates ten anonymous accounts a minute and goes on signing in', async () => {
    const from = freshAddress()
    assert.equal(await letIn(25, 10, () => call('POST', '/auth/anonymous', { from })), 10)
    assert.equal((await call('POST', '/auth/refresh', { from, body: { refresh_token: 'x' } })).status, 401)
    assert.equal((await call('POST', '/auth/anonymous')).status, 200, 'others are let in')
  })

  test('is that of the connection, regardless of headers', async () => {
    const from = freshAddress()
    const forged = () => {
      const address = freshAddress()
      return { 'cf-connecting-ip': address, 'CF-Connecting-IPv6': '2001:db8::1', 'x-forwarded-for': address, 'x-real-ip': address, 'true-client-ip': address,
        forwarded: `for=${address}`, 'mf-cf-blob': JSON.stringify({ clientIp: `${address}:1` }) }
    }
    assert.equal(await letIn(130, 100, () => call('GET', '/waste/categories', { from, headers: forged() })), 100)
    // Nor can anybody use up another's allowance.
    const victim = freshAddress()
    for (let n = 0; n < 5; n++) await call('GET', '/waste/categories', { headers: { 'cf-connecting-ip': victim } })
    assert.equal(await letIn(110, 100, () => call('GET', '/waste/categories', { from: victim })), 100)
  })

  test('that cannot be counted in time is refused, and uncounted requests go on', async () => {
    for (const fault of ['object-throws', 'object-hangs']) {
      const begun = performance.now()
      const answer = await call('GET', '/waste/categories', { headers: { 'x-carbon-fault': fault } })
      refused(answer, 503, 'SERVICE_UNAVAILABLE')
      assert.ok(Number(answer.headers.get('retry-after')) >= 1)
      assert.ok(performance.now() - begun < 5000, `${fault}: given up in time`)
      assert.equal((await call('GET', '/health', { headers: { 'x-carbon-fault': fault } })).status, 200)
    }
  })

  test('is not counted for answers that need no count', async () => {
    const from = freshAddress()
    for (let n = 0; n < 30; n++) {
      assert.equal((await call('GET', '/nothing', { from })).status, 404)
      assert.equal((await call('OPTIONS', '/waste/entries', { from })).status, 204)
      assert.equal((await call('GET', '/user/profile', { from })).status, 401)
    }
    assert.equal(await letIn(110, 100, () => call('GET', '/waste/categories', { from })), 100)
  })
})

describe('sizes of a request\'s head', () => {
  test('an oversized URL or header is refused', async () => {
    refused(await call('GET', `/waste/categories?x=${'y'.repeat(9000)}`), 400, 'VALIDATION_ERROR')
    refused(await call('GET', '/waste/categories', { headers: { 'accept-language': `en;q=0.${'0'.repeat(17_000)}` } }), 400, 'VALIDATION_ERROR')
    assert.equal((await call('GET', `/waste/categories?x=${'y'.repeat(7000)}`)).status, 200)
  })
})

describe('a Worker', () => {
  let worker
  after(() => worker?.stop())
  test('counts nothing with NO_LIMITS', async () => {
    worker = await startWorker({ NO_LIMITS: 'true' })
    const from = freshAddress()
    assert.equal(await letIn(120, 100, () => call('GET', '/waste/categories', { from, base: worker.base })), 120)
  })

  test('refuses callers that it cannot count', async () => {
    const from = freshAddress()
    let broken = await startWorker()
    try {
      assert.equal((await call('GET', '/waste/categories', { from, base: broken.base })).status, 200)
      await broken.stop({ retainState: true })
      rewriteObjects(broken.persist, 'Subject', '{', 'unreadable')
      broken = await startWorker({}, broken.persist)
      const answer = await call('GET', '/waste/categories', { from, base: broken.base })
      refused(answer, 503, 'SERVICE_UNAVAILABLE')
      assert.ok(Number(answer.headers.get('retry-after')) >= 1)
      assert.equal((await call('GET', '/waste/categories', { base: broken.base })).status, 200, 'others are let in')
    } finally { await broken.stop() }
  })

  test('refuses NO_LIMITS in production', async () => {
    const production = await startWorker({ NO_LIMITS: 'true', ENVIRONMENT: 'production' })
    try {
      refused(await call('GET', '/health', { base: production.base }), 500, 'INTERNAL_ERROR')
      assert.match(production.log(), /NO_LIMITS is for local use only/)
      assert.match(production.log(), /TURNSTILE_SECRET is missing/)
    } finally { await production.stop() }
  })
})
