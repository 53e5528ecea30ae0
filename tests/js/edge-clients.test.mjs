// What real phones, keyboards and libraries send: compressed bodies, byte order marks, digits of other scripts, tracing
// headers, bodies on requests that read none, weighted languages.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import zlib from 'node:zlib'
import { api, awaitSms, closeSql, deviceInfo, env, freshPhone, invalidField, ok, refused, signInAnonymously, sql, uuid } from './lib.mjs'
import { freshAddress, startWorker } from './limits-fixtures.mjs'

const entry = () => JSON.stringify({ category_id: 'food_waste', disposal_method: 'reduced', weight_kg: 1, offline_id: uuid() })

describe('a body', () => {
  let someone
  before(async () => { someone = await signInAnonymously() })
  const create = (raw, headers, type) => someone.api('POST', '/waste/entries', { raw, headers, type })

  for (const [coding, packed] of [['gzip', zlib.gzipSync], ['deflate', zlib.deflateSync], ['br', zlib.brotliCompressSync]]) {
    test(`compressed with ${coding} is 415, and the answer names the accepted encodings`, async () => {
      const answer = await create(packed(entry()), { 'content-encoding': coding })
      refused(answer, 415, 'UNSUPPORTED_MEDIA_TYPE')
      assert.equal(answer.headers.get('accept-encoding'), 'identity')
    })
  }

  test('of another content type is 415, and the answer does not mention compression', async () => {
    const answer = await create(entry(), {}, 'text/plain')
    refused(answer, 415, 'UNSUPPORTED_MEDIA_TYPE')
    assert.equal(answer.headers.get('accept-encoding'), null)
  })

  test('with Content-Encoding: identity is accepted', async () => {
    ok(await create(entry(), { 'content-encoding': 'identity' }), 201)
  })

  test('may begin with one byte order mark', async () => {
    ok(await create(`\uFEFF${entry()}`), 201)
    refused(await create(`\uFEFF\uFEFF${entry()}`), 400, 'VALIDATION_ERROR')
    const dump = JSON.stringify({ local_storage: { first_visit: 'true' } })
    ok(await someone.api('POST', '/user/migrate-local?dry_run=true', { raw: `\uFEFF${dump}` }))
  })

  test('is UTF-8 in every spelling of its charset', async () => {
    for (const charset of ['utf8', 'UTF8', 'utf-8', '"utf-8"']) ok(await create(entry(), {}, `application/json; charset=${charset}`), 201)
    refused(await create(entry(), {}, 'application/json; charset=utf-16'), 415, 'UNSUPPORTED_MEDIA_TYPE')
  })
})

describe('a body on a request that reads none', () => {
  let someone
  before(async () => { someone = await signInAnonymously() })

  /** One request on a persistent connection. */
  const onConnection = (agent, method, route, body) => new Promise((done, fail) => {
    const { hostname: host, port } = new URL(env.API_URL)
    const request = http.request({ host, port, method, path: `/api/v1${route}`, agent,
      headers: { authorization: `Bearer ${someone.token}`, ...(body && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }) } }, answer => {
      answer.resume().on('end', () => done({ status: answer.statusCode }))
    })
    request.on('error', fail).end(body)
  })

  for (const [what, size] of [['a short', 2], ['a long', 300_000]]) {
    test(`${what} one breaks no later request on its connection`, async () => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      const body = `"${'x'.repeat(size)}"`
      try {
        const { id } = ok(await someone.api('POST', '/waste/entries', { raw: entry() }), 201)
        for (const [method, route, status] of [['GET', '/user/profile', 200], ['DELETE', `/waste/entries/${id}`, 200], ['DELETE', `/waste/entries/${id}`, 404],
          ['GET', '/health', 200], ['OPTIONS', '/waste/entries', 204], ['PATCH', '/waste/entries', 405], ['GET', '/nothing', 404]]) {
          assert.equal((await onConnection(agent, method, route, body)).status, status, `${method} ${route}`)
          assert.equal((await onConnection(agent, 'GET', '/waste/categories')).status, 200, `after ${method} ${route}`)
        }
      } finally { agent.destroy() }
    })
  }

  test('logging out with {} succeeds', async () => {
    const other = await signInAnonymously()
    ok(await other.api('POST', '/auth/logout', { body: {} }))
  })
})

describe('a page', () => {
  const preflight = (headers, { base = env.API_URL, origin = 'http://localhost:5173' } = {}) => fetch(`${base}/api/v1/waste/entries`,
    { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': headers } })
  const allowed = answer => answer.headers.get('access-control-allow-headers').toLowerCase().split(',').map(name => name.trim())

  test('may send the headers that tracing libraries add', async () => {
    const expected = ['authorization', 'content-type', 'idempotency-key', 'traceparent', 'tracestate', 'baggage', 'sentry-trace', 'x-datadog-trace-id', 'x-datadog-parent-id',
      'x-datadog-origin', 'x-datadog-sampling-priority', 'b3', 'x-b3-traceid', 'newrelic', 'x-requested-with']
    const answer = await preflight(expected.join(','))
    assert.equal(answer.status, 204)
    for (const name of expected) assert.ok(allowed(answer).includes(name), name)
  })

  test('of a wrapped app may call if its scheme is listed; others may not', async () => {
    const own = await startWorker({ NO_LIMITS: 'true', ALLOWED_ORIGINS: 'https://app.example, capacitor://localhost,ionic://localhost' })
    try {
      for (const origin of ['https://app.example', 'capacitor://localhost', 'ionic://localhost']) {
        const answer = await preflight('authorization', { base: own.base, origin })
        assert.equal(answer.headers.get('access-control-allow-origin'), origin)
      }
      for (const origin of ['capacitor://localhost.evil', 'tauri://localhost', 'https://localhost', 'null']) {
        const answer = await preflight('authorization', { base: own.base, origin })
        assert.equal(answer.headers.get('access-control-allow-origin'), null, origin)
      }
    } finally { await own.stop() }
  })
})

describe('Accept-Language', () => {
  for (const [header, expected] of [['*;q=0.9, en;q=0.5', 'th'], ['en;q=0.5, *;q=0.9', 'th'], ['en;Q=0.2, th;q=0.9', 'th'], ['th;q=0.5, *;q=0.9', 'en'], ['th;q=.2, en;q=.3', 'en'],
    ['th-TH,th;q=0.9,en-US;q=0.8,en;q=0.7', 'th'], ['en_TH', 'en'], ['*', 'th'], ['th;q=0, en;q=0.001', 'en'], ['th;q=0, *', 'en']]) {
    test(`${header} is ${expected}`, async () => {
      assert.equal((await api('GET', '/nothing', { lang: header })).headers.get('content-language'), expected)
    })
  }
})

describe('typed input', () => {
  after(closeSql)
  const scripts = { Thai: '๐๑๒๓๔๕๖๗๘๙', Lao: '໐໑໒໓໔໕໖໗໘໙', Khmer: '០១២៣៤៥៦៧៨៩', Myanmar: '၀၁၂၃၄၅၆၇၈၉', 'Arabic-Indic': '٠١٢٣٤٥٦٧٨٩', 'full-width': '０１２３４５６７８９' }
  const inScript = (digits, script) => digits.replace(/\d/g, digit => [...scripts[script]][Number(digit)])
  const verify = (otp_id, otp_code, device_info = deviceInfo()) => api('POST', '/auth/verify-otp', { body: { otp_id, otp_code, device_info } })

  for (const script of Object.keys(scripts)) {
    test(`${script} digits sign in, in the number and in the code`, async () => {
      const phone = freshPhone()
      const requested = ok(await api('POST', '/auth/phone-otp', { body: { phone_number: inScript(phone.typed, script) } }))
      const { code } = await awaitSms(phone.bare)
      assert.equal(ok(await verify(requested.otp_id, inScript(code, script))).user.phone_number, phone.e164)
    })
  }

  test('with the spaces, hyphens, brackets and marks of copied text signs in', async () => {
    for (const written of [code => `${code.slice(0, 3)} ${code.slice(3)}`, code => `${code.slice(0, 3)}-${code.slice(3)}`, code => `(${code})`, code => `\u200B${code}\u2060\uFEFF`, code => [...code].join('\u00A0')]) {
      const phone = freshPhone()
      const requested = ok(await api('POST', '/auth/phone-otp', { body: { phone_number: written(phone.typed) } }))
      const { code } = await awaitSms(phone.bare)
      ok(await verify(requested.otp_id, written(code)))
    }
  })

  test('that cannot be a code is refused without counting as a try', async () => {
    const requested = ok(await api('POST', '/auth/phone-otp', { body: { phone_number: freshPhone().typed } }))
    for (const typed of ['12345', '1234567', '12345a', '+12345', ' ', '½23456']) invalidField(await verify(requested.otp_id, typed), 'otp_code')
  })

  test('a number with its country code needs no other', async () => {
    const phone = freshPhone()
    ok(await api('POST', '/auth/phone-otp', { body: { phone_number: phone.e164, country_code: '+1' } }))
    invalidField(await api('POST', '/auth/phone-otp', { body: { phone_number: freshPhone().typed, country_code: '+1' } }), 'phone_number')
  })

  test('an invalid device is refused before Auth opens a session, and the code stays valid', async () => {
    const phone = freshPhone()
    const requested = ok(await api('POST', '/auth/phone-otp', { body: { phone_number: phone.typed } }))
    const { code } = await awaitSms(phone.bare)
    for (const [field, value] of [['app_version', '1.0\u0000'], ['app_version', 'x'.repeat(51)], ['device_id', 'a\u0000b'], ['platform', 'web\u0000']]) {
      invalidField(await verify(requested.otp_id, code, { ...deviceInfo(), [field]: value }), `device_info.${field}`)
    }
    const [{ sessions }] = await sql('select count(*)::int as sessions from auth.sessions s join auth.users u on u.id = s.user_id where u.phone = $1', [phone.bare])
    assert.equal(sessions, 0)
    ok(await verify(requested.otp_id, code))
    invalidField(await api('POST', '/auth/anonymous', { body: { device_info: { ...deviceInfo(), app_version: '\u0000' } } }), 'device_info.app_version')
  })
})

describe('health', () => {
  test('queries the origin once a second, regardless of the number of callers', async () => {
    let calls = 0
    const origin = http.createServer((request, response) => { calls += 1; response.writeHead(200, { 'content-type': 'application/json' }).end('[]') })
    await new Promise(done => origin.listen(0, '127.0.0.1', done))
    const own = await startWorker({ SUPABASE_URL: `http://127.0.0.1:${origin.address().port}` })
    const agent = new http.Agent({ keepAlive: true })
    const get = route => new Promise((done, fail) => {
      http.get(`${own.base}/api/v1${route}`, { agent, localAddress: freshAddress() }, answer => answer.resume().on('end', () => done(answer.statusCode))).on('error', fail)
    })
    try {
      for (const route of ['/health/ready', '/health/detailed']) assert.equal(await get(route), 200)
      const [from, begun] = [calls, performance.now()]
      let answered = 0
      const routes = ['/health/ready', '/waste/health', '/gamification/health', '/user/health', '/health/detailed']
      await Promise.all(Array.from({ length: 20 }, async (_, n) => {
        while (performance.now() - begun < 2500) {
          assert.equal(await get(routes[n % routes.length]), 200)
          answered += 1
        }
      }))
      // Two dependencies, once a second each: two or three times within two and a half seconds.
      assert.ok(answered > 100, String(answered))
      assert.ok(calls - from <= 6, `${calls - from} requests for ${answered} answers`)
      assert.ok(calls - from >= 2, 'the cached answer expires')
    } finally {
      agent.destroy()
      await own.stop()
      origin.closeAllConnections()
      origin.close()
    }
  })
})
