// What all answers of the edge have in common, and its simple endpoints: envelope, languages, every error code that a caller
// can cause, health, categories, profile, codes by SMS.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import {
  api, awaitSms, closeSql, deviceInfo, env, freshPhone, invalidField, messages, ok, refused, signInAnonymously, signInByPhone, signToken, supabase, uuid,
} from './lib.mjs'
import { factors, pairs, scaled } from './figures.mjs'

const THAI = /[\u0E00-\u0E7F]/
const otherCode = code => (code === '000000' ? '000001' : '000000')

describe('the envelope', () => {
  let someone
  before(async () => { someone = await signInAnonymously() })

  test('messages are Thai unless English is requested, and each has its own request id', async () => {
    const thai = refused(await api('GET', '/user/profile'), 401, 'AUTH_REQUIRED')
    const english = refused(await api('GET', '/user/profile', { lang: 'en' }), 401, 'AUTH_REQUIRED')
    const preferred = refused(await api('GET', '/user/profile', { lang: 'fr, en-GB;q=0.8, th;q=0.3' }), 401, 'AUTH_REQUIRED')
    assert.match(thai.message, THAI)
    assert.doesNotMatch(english.message, THAI)
    assert.equal(preferred.message, english.message)
    assert.notEqual(thai.request_id, english.request_id)
  })

  test('validation details name every invalid field in the requested language', async () => {
    const body = { category_id: 'gold', disposal_method: 'recycled', weight_kg: 0, location: { latitude: 91, longitude: 0 }, notes: 'x'.repeat(501) }
    const thai = refused(await someone.api('POST', '/waste/entries', { body }), 400, 'VALIDATION_ERROR')
    const english = refused(await someone.api('POST', '/waste/entries', { body, lang: 'en' }), 400, 'VALIDATION_ERROR')
    for (const field of ['category_id', 'weight_kg', 'notes']) {
      const [one] = thai.details.fields.filter(detail => detail.field === field)
      const [other] = english.details.fields.filter(detail => detail.field === field)
      assert.match(one.message, THAI, field)
      assert.doesNotMatch(other.message, THAI, field)
      assert.equal(one.code, other.code)
    }
    assert.ok(thai.details.fields.some(detail => detail.field.startsWith('location')))
  })

  test('missing, broken, foreign, unsigned and expired tokens are distinguished', async () => {
    const now = Math.floor(Date.now() / 1000)
    const claims = someone.claims
    refused(await api('GET', '/user/profile'), 401, 'AUTH_REQUIRED')
    for (const token of ['x', 'a.b.c', `${someone.token}x`, signToken(claims, { secret: 'y'.repeat(40) }), signToken({ ...claims, aud: 'elsewhere' }),
      signToken({ ...claims, iss: 'https://elsewhere.example' }), signToken(claims, { header: { alg: 'none', typ: 'JWT' } }), signToken({ ...claims, exp: undefined })]) {
      refused(await api('GET', '/user/profile', { token }), 401, 'AUTH_INVALID')
    }
    refused(await api('GET', '/user/profile', { token: signToken({ ...claims, exp: now - 300, iat: now - 3900 }) }), 401, 'AUTH_EXPIRED')
    const basic = await api('GET', '/user/profile', { headers: { authorization: 'Basic eDp5' } })
    assert.equal(basic.status, 401)
  })

  test('the public keys sign nobody in', async () => {
    for (const token of [env.ANON_KEY, env.SERVICE_ROLE_KEY]) {
      const answer = await api('GET', '/user/profile', { token })
      assert.equal(answer.status, 401, answer.text)
    }
  })

  test('unknown paths are 404, other methods of existing ones 405 with Allow', async () => {
    refused(await someone.api('GET', '/nothing/here'), 404, 'NOT_FOUND')
    for (const [method, path, allowed] of [['PATCH', '/waste/entries', ['GET', 'POST']], ['DELETE', '/user/profile', ['GET', 'PUT']], ['GET', '/auth/phone-otp', ['POST']],
      ['POST', `/waste/entries/${uuid()}`, ['GET', 'PUT', 'DELETE']]]) {
      const answer = await someone.api(method, path)
      refused(answer, 405, 'METHOD_NOT_ALLOWED')
      const allow = answer.headers.get('allow').split(',').map(one => one.trim())
      for (const one of allowed) assert.ok(allow.includes(one), `${path}: ${allow}`)
    }
  })

  test('a body that is of another type, broken, empty or not an object is refused with the reason', async () => {
    refused(await someone.api('POST', '/waste/entries', { raw: 'a=1', type: 'application/x-www-form-urlencoded' }), 415, 'UNSUPPORTED_MEDIA_TYPE')
    refused(await someone.api('POST', '/waste/entries', { raw: '<a/>', type: 'text/xml' }), 415, 'UNSUPPORTED_MEDIA_TYPE')
    for (const raw of ['{', '', '[]', 'null', '"x"', '{"a":1}x', '\u0000']) refused(await someone.api('POST', '/waste/entries', { raw }), 400, 'VALIDATION_ERROR')
    const charset = await someone.api('POST', '/waste/entries', { raw: '{"category_id":"food_waste","disposal_method":"reduced","weight_kg":1}', type: 'application/json; charset=utf-8' })
    assert.equal(charset.status, 201, charset.text)
  })

  test('a JSON body above 1 MiB is too large', async () => {
    const raw = JSON.stringify({ category_id: 'food_waste', disposal_method: 'reduced', weight_kg: 1, notes: 'n'.repeat(1024 * 1024) })
    refused(await someone.api('POST', '/waste/entries', { raw }), 413, 'PAYLOAD_TOO_LARGE')
  })

  test('endpoints that are not implemented say so', async () => {
    refused(await someone.api('POST', '/waste/image/recognize', { body: {} }), 501, 'FEATURE_UNAVAILABLE')
  })

  test('health answers without a token', async () => {
    for (const path of ['/health', '/health/ready']) assert.equal((await api('GET', path)).status, 200, path)
  })
})

describe('categories', () => {
  test('are all there with the factors, without a token, in both languages', async () => {
    const thai = ok(await api('GET', '/waste/categories'))
    const english = ok(await api('GET', '/waste/categories', { lang: 'en' }))
    assert.equal(thai.factor_set, factors.factor_set)
    const shown = thai.categories.flatMap(category => category.methods.map(method => [category.id, method.method, method.credits_per_kg, scaled(method.kg_co2e_per_kg, 4)]))
    assert.deepEqual(shown, pairs.map(one => [one.category, one.method, Number(one.creditsPerKg), one.co2ePerKg]))
    thai.categories.forEach((category, index) => {
      assert.equal(category.name, category.name_th)
      assert.match(category.name_th, THAI)
      assert.equal(english.categories[index].name, category.name_en)
      assert.ok(category.icon && category.color)
      category.methods.forEach(method => { assert.match(method.name_th, THAI); assert.ok(method.name_en) })
    })
  })
})

describe('the profile', () => {
  let someone
  before(async () => { someone = await signInByPhone() })
  const put = (body, options) => someone.api('PUT', '/user/profile', { body, ...options })

  test('shows the documented fields and their defaults', async () => {
    const profile = ok(await someone.api('GET', '/user/profile'))
    const names = ['id', 'is_anonymous', 'phone_number', 'username', 'display_name', 'avatar_url', 'province', 'district', 'privacy_level', 'visible_in_leaderboard', 'language',
      'time_zone', 'daily_goal', 'measurement_unit', 'theme', 'auto_sync', 'notification_settings', 'onboarding_completed', 'created_at', 'updated_at']
    for (const name of names) assert.ok(name in profile, name)
    assert.deepEqual([profile.language, profile.time_zone, profile.daily_goal, profile.measurement_unit, profile.theme, profile.auto_sync, profile.privacy_level],
      ['th', 'Asia/Bangkok', 100, 'kg', 'notebook', true, 1])
  })

  test('leaves missing fields and clears those that are null', async () => {
    const first = ok(await put({ display_name: 'มะลิ 🌿', district: 'เมือง', province: 'TH-38', daily_goal: 250, language: 'en' }))
    assert.deepEqual([first.display_name, first.district, first.province, first.daily_goal, first.language], ['มะลิ 🌿', 'เมือง', 'TH-38', 250, 'en'])
    const second = ok(await put({ district: null, daily_goal: null }))
    assert.deepEqual([second.display_name, second.district, second.province, second.daily_goal, second.language], ['มะลิ 🌿', null, 'TH-38', 100, 'en'])
    assert.deepEqual(ok(await someone.api('GET', '/user/profile')), second)
    ok(await put({ language: null }))
  })

  for (const [field, value] of [['province', 'TH-99'], ['province', 'Bangkok'], ['time_zone', 'Mars/Base'], ['privacy_level', 4], ['privacy_level', '1'], ['language', 'fr'],
    ['visible_in_leaderboard', 'yes'], ['daily_goal', -1], ['username', 'a b'], ['display_name', 7]]) {
    test(`${field} = ${JSON.stringify(value)} is refused by name and changes nothing`, async () => {
      const before = ok(await someone.api('GET', '/user/profile'))
      invalidField(await put({ [field]: value, district: 'ไม่ควรเข้า' }), field)
      assert.deepEqual(ok(await someone.api('GET', '/user/profile')), before)
    })
  }

  for (const field of ['id', 'is_anonymous', 'phone_number', 'avatar_url', 'created_at', 'updated_at']) {
    test(`${field} cannot be changed`, async () => { invalidField(await put({ [field]: null }), field) })
  }

  test('a username belongs to one person, case-insensitively', async () => {
    const name = `mali${uuid().slice(0, 8)}`
    ok(await put({ username: name }))
    const other = await signInAnonymously()
    refused(await other.api('PUT', '/user/profile', { body: { username: name.toUpperCase() } }), 409, 'CONFLICT')
    ok(await put({ username: name }))
  })
})

describe('codes by SMS', () => {
  after(closeSql)
  const ask = (phone_number, more = {}) => api('POST', '/auth/phone-otp', { body: { phone_number, ...more } })
  const verify = (otp_id, otp_code, device_info = deviceInfo()) => api('POST', '/auth/verify-otp', { body: { otp_id, otp_code, device_info } })

  for (const number of ['021234567', '0601234567', '0681234567', '+14155552671', '+66', '12345', '', '08123456789', 'โทรศัพท์', '191', '0812345678;ext=1']) {
    test(`${JSON.stringify(number)} gets no SMS`, async () => { invalidField(await ask(number), 'phone_number') })
  }

  test('landlines, foreign and other numbers are refused by their kind', async () => {
    for (const number of [812345678, null, {}, ['0812345678']]) invalidField(await ask(number), 'phone_number')
    invalidField(await api('POST', '/auth/phone-otp', { body: {} }), 'phone_number')
  })

  test('all the ways to type a number lead to the same person', async () => {
    const phone = freshPhone()
    const requested = ok(await ask(`+66 (0)${phone.typed.slice(1, 3)} ${phone.typed.slice(3, 6)}-${phone.typed.slice(6)}`))
    assert.deepEqual(Object.keys(requested).sort(), ['expires_at', 'otp_id', 'resend_available_at'])
    const sms = await awaitSms(phone.bare)
    assert.equal(ok(await verify(requested.otp_id, sms.code)).user.phone_number, phone.e164)
  })

  test('a second SMS to the number before the pause is over is 429 with Retry-After', async () => {
    const phone = freshPhone()
    ok(await ask(phone.typed))
    const answer = await ask(phone.e164)
    const error = refused(answer, 429, 'RATE_LIMITED')
    const seconds = Number(answer.headers.get('retry-after'))
    assert.ok(seconds > 0 && seconds <= 60, String(seconds))
    assert.ok('reset_at' in error.details, JSON.stringify(error.details))
    await awaitSms(phone.bare)
    assert.equal((await messages(phone.bare)).length, 1)
  })

  test('a used code, an unknown request and another number\'s request are AUTH_INVALID', async () => {
    const [first, second] = [freshPhone(), freshPhone()]
    const [one, two] = [ok(await ask(first.typed)), ok(await ask(second.typed))]
    const code = (await awaitSms(first.bare)).code
    const foreign = (await awaitSms(second.bare)).code
    if (code !== foreign) refused(await verify(two.otp_id, code), 401, 'AUTH_INVALID')
    ok(await verify(one.otp_id, code))
    refused(await verify(one.otp_id, code), 401, 'AUTH_INVALID')
    for (const unknown of [uuid(), 'x', `${two.otp_id}x`, '../../x', 'é'.repeat(200)]) refused(await verify(unknown, foreign), 401, 'AUTH_INVALID')
    ok(await verify(two.otp_id, foreign))
  })

  test('after five wrong tries the correct code is refused too', async () => {
    const phone = freshPhone()
    const requested = ok(await ask(phone.typed))
    const { code } = await awaitSms(phone.bare)
    const wrong = []
    for (let tries = 0; tries < 5; tries++) wrong.push((await verify(requested.otp_id, otherCode(code))).status)
    assert.deepEqual(wrong.slice(0, 4), [401, 401, 401, 401])
    assert.ok([401, 429].includes(wrong[4]))
    refused(await verify(requested.otp_id, code), 429, 'RATE_LIMITED')
  })

  test('ten simultaneous wrong tries are all counted', async () => {
    const phone = freshPhone()
    const requested = ok(await ask(phone.typed))
    const { code } = await awaitSms(phone.bare)
    const answers = await Promise.all(Array.from({ length: 10 }, () => verify(requested.otp_id, otherCode(code))))
    assert.ok(answers.filter(one => one.status === 401).length <= 5)
    refused(await verify(requested.otp_id, code), 429, 'RATE_LIMITED')
  })

  test('of four simultaneous correct tries exactly one signs in', async () => {
    const phone = freshPhone()
    const requested = ok(await ask(phone.typed))
    const { code } = await awaitSms(phone.bare)
    const answers = await Promise.all(Array.from({ length: 4 }, () => verify(requested.otp_id, code)))
    assert.equal(answers.filter(one => one.status === 200).length, 1, answers.map(one => one.status).join())
  })

  test('a verification names its missing fields', async () => {
    const answer = await api('POST', '/auth/verify-otp', { body: {} })
    for (const field of ['otp_id', 'otp_code']) invalidField(answer, field)
    const requested = ok(await ask(freshPhone().typed))
    const platform = await verify(requested.otp_id, '123456', { device_id: 'd', platform: 'toaster', app_version: '1' })
    assert.ok(refused(platform, 400, 'VALIDATION_ERROR').details.fields[0].field.includes('platform'))
  })

  test('a session refreshes once and its logout ends it', async () => {
    const someone = await signInByPhone()
    const fresh = ok(await api('POST', '/auth/refresh', { body: { refresh_token: someone.refreshToken } }))
    assert.notEqual(fresh.refresh_token, someone.refreshToken)
    assert.equal(fresh.expires_in, 3600)
    ok(await api('GET', '/user/profile', { token: fresh.access_token }))
    assert.equal((await api('POST', '/auth/logout', { token: fresh.access_token, body: {} })).status, 200)
    refused(await api('POST', '/auth/refresh', { body: { refresh_token: fresh.refresh_token } }), 401, 'AUTH_INVALID')
    refused(await api('POST', '/auth/refresh', { body: { refresh_token: 'never-was-one' } }), 401, 'AUTH_INVALID')
    invalidField(await api('POST', '/auth/refresh', { body: {} }), 'refresh_token')
  })

  test('a session of the Worker works with supabase-js, and vice versa', async () => {
    const someone = await signInByPhone()
    const client = supabase()
    const { data, error } = await client.auth.refreshSession({ refresh_token: someone.refreshToken })
    assert.equal(error, null)
    assert.equal(ok(await api('GET', '/user/profile', { token: data.session.access_token })).id, someone.id)
  })
})
