// Protection of sign-in codes against abuse: what unrecognised devices use up costs the owner nothing; bot checks; message
// budgets; the lock; and nothing shows who has an account.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { awaitSms, closeSql, deviceInfo, env, freshPhone, messages, ok, refused, sleep, sql, uuid } from './lib.mjs'
import { acceptingOrigin, call, freshAddress, hook, limited, rewriteObjects, server, startWorker } from './limits-fixtures.mjs'

const sha256 = text => crypto.createHash('sha256').update(text).digest('hex')
const otherCode = code => (code === '000000' ? '000001' : '000000')
const ask = (phone, { base, from, ...body } = {}) => call('POST', '/auth/phone-otp', { base, from, body: { phone_number: phone.typed, ...body } })
const verify = (otpId, code, options = {}) => call('POST', '/auth/verify-otp', { ...options, body: { otp_id: otpId, otp_code: code, device_info: deviceInfo() } })

/** Requests a code, reads it from the inbox, signs in. */
async function signIn(phone, options) {
  const before = (await messages(phone.bare)).length
  const requested = ok(await ask(phone, options))
  return ok(await verify(requested.otp_id, (await awaitSms(phone.bare, before + 1)).code))
}

after(closeSql)

describe('a number', () => {
  test('waits 60 s for its next code from an unrecognised device, while a recognised device has a timer of its own', async () => {
    const phone = freshPhone()
    const { device_token } = await signIn(phone)
    limited(await ask(phone), 1, { within: 60 })
    limited(await ask(phone, { device_token: 'A'.repeat(43) }), 1, { within: 60 })
    ok(await ask(phone, { device_token }))
    limited(await ask(phone, { device_token }), 1, { within: 60 })
  })

  test('uses up a code with exactly five wrong tries, even simultaneous ones', async () => {
    const phone = freshPhone()
    const requested = ok(await ask(phone))
    const { code } = await awaitSms(phone.bare)
    const tries = await Promise.all(Array.from({ length: 30 }, () => verify(requested.otp_id, otherCode(code))))
    assert.equal(tries.filter(answer => answer.status === 401).length, 5)
    for (const answer of tries.filter(one => one.status !== 401)) limited(answer, 5)
    limited(await verify(requested.otp_id, code), 5)
  })

  test('lets a recognised device in after unrecognised ones have used up the tries', async () => {
    const phone = freshPhone()
    const { device_token } = await signIn(phone)
    const own = ok(await ask(phone, { device_token }))
    const { code } = await awaitSms(phone.bare, 2)
    // An unrecognised device has to wait for its timer; the owner's code does not change that.
    limited(await ask(phone), 1)
    refused(await verify(own.otp_id, otherCode(code)), 401, 'AUTH_INVALID')
    ok(await verify(own.otp_id, code))
  })
})

describe('whether a number has an account', () => {
  /** A number with an account that was created without the Worker, so that its Durable Object has no state of it. */
  async function member() {
    const phone = freshPhone()
    const made = await fetch(`${env.AUTH_URL}/admin/users`, {
      method: 'POST',
      headers: { authorization: `Bearer ${env.SERVICE_ROLE_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ phone: phone.e164, phone_confirm: true }),
    })
    assert.equal(made.status, 200, await made.text())
    return phone
  }

  test('does not show in any answer', async () => {
    const [registered, unregistered] = [await member(), freshPhone()]
    const answers = [await ask(registered), await ask(unregistered)]
    const shapes = answers.map(answer => [ok(answer) && answer.status, Object.keys(answer.data).sort(), answer.text.length, [...answer.headers.keys()].sort()])
    assert.deepEqual(shapes[0], shapes[1])
    for (const phone of [registered, unregistered]) await awaitSms(phone.bare)
    const again = [await ask(registered), await ask(unregistered)]
    for (const answer of again) limited(answer, 1)
    assert.equal(again[0].error.message, again[1].error.message)
    const wrong = await Promise.all(answers.map(({ data }) => verify(data.otp_id, '000000')))
    assert.deepEqual(wrong.map(answer => answer.status), [401, 401])
    assert.equal(wrong[0].error.message, wrong[1].error.message)
  })

  test('does not show in response times', async () => {
    const ROUNDS = 15
    const times = [[], []]
    for (let n = 0; n <= ROUNDS; n++) {
      for (const [which, phone] of [await member(), freshPhone()].entries()) {
        const begun = performance.now()
        ok(await ask(phone))
        // The first round warms up.
        if (n > 0) times[which].push(performance.now() - begun)
      }
    }
    const [registered, unregistered] = times.map(list => list.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)])
    console.log(`# requesting a code, median: ${registered.toFixed(1)} ms for a number with an account, ${unregistered.toFixed(1)} ms for one without`)
    // Answers are sent in steps of 500 ms, so both medians lie in the same step.
    assert.ok(Math.abs(registered - unregistered) < 60, `${registered} ms and ${unregistered} ms`)
    assert.ok(Math.min(registered, unregistered) >= 490, `${registered} ms and ${unregistered} ms`)
  })
})

describe('a Worker of its own', () => {
  let origin
  before(async () => { origin = await acceptingOrigin() })
  after(() => origin?.stop())
  const worker = (settings = {}, persist = undefined) => startWorker({ SUPABASE_URL: origin.url, ...settings }, persist)

  describe('without a bot check', () => {
    let own
    before(async () => { own = await worker() })
    after(() => own?.stop())
    const askHere = (phone, options) => ask(phone, { base: own.base, ...options })

    test('an address gets three codes that are not verified, at once or not, and then none for an hour', async () => {
      const from = freshAddress()
      const answers = await Promise.all(Array.from({ length: 10 }, () => askHere(freshPhone(), { from })))
      assert.equal(answers.filter(answer => answer.status === 200).length, 3)
      const details = limited(await askHere(freshPhone(), { from, challenge_token: 'anything' }), 3, { within: 3600 })
      assert.equal(details.challenge, undefined, 'there is none to pass')
      ok(await askHere(freshPhone()))
    })

    test('a block of 10,000 numbers gets twenty, regardless of the number of addresses', async () => {
      const block = freshPhone().e164.slice(0, -4)
      const numbers = Array.from({ length: 22 }, (_, n) => ({ typed: `${block}${String(n).padStart(4, '0')}` }))
      const answers = []
      for (const number of numbers) answers.push(await askHere(number))
      assert.deepEqual(answers.map(answer => answer.status), [...Array(20).fill(200), 429, 429])
      limited(answers[21], 20, { within: 3600 })
      ok(await askHere(freshPhone()))
    })

    test('a recognised device passes, regardless of what others did on its address and in its block', async () => {
      const [from, owner] = [freshAddress(), freshPhone()]
      const signInHere = async more => {
        const count = (await messages(owner.bare)).length
        const { otp_id: otpId } = ok(await askHere(owner, { from, ...more }))
        assert.equal((await hook(owner.bare, { base: own.base })).status, 200)
        return ok(await verify(otpId, (await awaitSms(owner.bare, count + 1)).code, { base: own.base }))
      }
      const { device_token } = await signInHere()
      for (let n = 0; n < 3; n++) ok(await askHere(freshPhone(), { from }))
      const block = owner.e164.slice(0, -4)
      for (let n = 0; n < 20; n++) await askHere({ typed: `${block}${String(n).padStart(4, '0')}` })
      limited(await askHere(freshPhone(), { from }), 3)
      limited(await askHere({ typed: `${block}0021` }), 20)
      await signInHere({ device_token })
      // Its codes do not count against others, and no forged token passes.
      const outsider = freshAddress()
      for (let n = 0; n < 3; n++) ok(await askHere(freshPhone(), { from: outsider }))
      limited(await askHere(freshPhone(), { from: outsider, device_token }), 3)
      limited(await askHere(freshPhone(), { from: outsider, device_token: 'A'.repeat(43) }), 3)
    })

    test('requests that were refused for another reason do not count', async () => {
      const [from, phone] = [freshAddress(), freshPhone()]
      ok(await askHere(phone, { from }))
      for (let n = 0; n < 4; n++) {
        limited(await askHere(phone, { from }), 1, { within: 60 })
        await sleep(100)
      }
      ok(await askHere(freshPhone(), { from }))
    })
  })

  describe('with Turnstile', () => {
    let own, turnstile, verification
    const good = { success: true, 'error-codes': [], challenge_ts: new Date().toISOString(), hostname: 'app.example' }
    const bad = code => ({ success: false, 'error-codes': [code] })
    before(async () => {
      turnstile = await server(question => verification(question))
      own = await worker({ TURNSTILE_SECRET: 'turnstile-secret', TURNSTILE_URL: `${turnstile.url}/siteverify` })
    })
    after(async () => { await own?.stop(); await turnstile?.stop() })

    test('an address that requested three codes may go on when it passes the bot check', async () => {
      const from = freshAddress()
      const askHere = challenge_token => ask(freshPhone(), { base: own.base, from, challenge_token })
      for (let n = 0; n < 3; n++) ok(await askHere())
      assert.equal(turnstile.seen.length, 0, 'no bot check while nothing is wrong')
      assert.equal(limited(await askHere(), 3).challenge, 'turnstile')
      verification = () => [200, bad('invalid-input-response')]
      assert.equal(limited(await askHere('wrong'), 3).challenge, 'turnstile')
      verification = () => [200, good]
      ok(await askHere('right'))
      const { body } = turnstile.seen.at(-1)
      assert.deepEqual([body.secret, body.response, body.remoteip], ['turnstile-secret', 'right', from])
      assert.match(body.idempotency_key, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
      limited(await askHere(), 3)
    })

    test('no bot check is demanded for a code that would be refused anyway', async () => {
      const [from, phone] = [freshAddress(), freshPhone()]
      ok(await ask(phone, { base: own.base }))
      for (let n = 0; n < 3; n++) ok(await ask(freshPhone(), { base: own.base, from }))
      const seen = turnstile.seen.length
      const details = limited(await ask(phone, { base: own.base, from, challenge_token: 'right' }), 1, { within: 60 })
      assert.equal(details.challenge, undefined)
      assert.equal(turnstile.seen.length, seen)
    })

    test('a passed bot check allows one more message a day where unrecognised devices used up the five', async () => {
      const settings = { TURNSTILE_SECRET: 'turnstile-secret', TURNSTILE_URL: `${turnstile.url}/siteverify` }
      let other = await worker(settings)
      try {
        const phone = freshPhone()
        const askHere = more => ask(phone, { base: other.base, ...more })
        /** Pretends that this many more messages were sent today, the last one long enough ago. */
        const later = async sent => {
          await other.stop({ retainState: true })
          rewriteObjects(other.persist, 'PhoneNumber', '"sms_at_ms":[', `"sms_at_ms":[${`${Date.now() - 3_600_000},`.repeat(sent)}`)
          rewriteObjects(other.persist, 'PhoneNumber', '"resend_at_ms":', '"resend_at_ms":0,"before":')
          other = await worker(settings, other.persist)
        }
        ok(await askHere())
        await later(4)
        verification = () => [200, bad('invalid-input-response')]
        assert.equal(limited(await askHere(), 5, { within: 86_400 }).challenge, 'turnstile')
        assert.equal(limited(await askHere({ challenge_token: 'wrong' }), 5).challenge, 'turnstile')
        verification = () => [200, good]
        ok(await askHere({ challenge_token: 'right' }))
        await later(0)
        assert.equal(limited(await askHere({ challenge_token: 'right' }), 5).challenge, undefined, 'that was the one')
      } finally { await other.stop() }
    })

    test('a verification with a lost answer is repeated with the same key; an outage is 503', async () => {
      const from = freshAddress()
      const askHere = challenge_token => ask(freshPhone(), { base: own.base, from, challenge_token })
      for (let n = 0; n < 3; n++) ok(await askHere())
      let calls = 0
      verification = () => (calls++ ? [200, good] : [502, {}])
      ok(await askHere('right'))
      assert.equal(turnstile.seen.at(-1).body.idempotency_key, turnstile.seen.at(-2).body.idempotency_key)
      for (const down of [() => [500, {}], () => [200, bad('internal-error')], () => [200, bad('invalid-input-secret')]]) {
        verification = down
        const answer = await askHere('right')
        refused(answer, 503, 'SERVICE_UNAVAILABLE')
        assert.ok(Number(answer.headers.get('retry-after')) >= 1)
      }
    })
  })

  test('a message budget reserves three tenths for members, counts a webhook once, and shows in no answer', async () => {
    const own = await worker({ SMS_BUDGET_PER_DAY: '10' })
    try {
      const send = async (confirmed, id = uuid()) => {
        const phone = freshPhone()
        const requested = await ask(phone, { base: own.base })
        ok(requested)
        for (let calls = 0; calls < 2; calls++) assert.equal((await hook(phone.bare, { base: own.base, id, confirmed })).status, 200)
        await sleep(200)
        return (await messages(phone.bare)).length
      }
      let others = 0
      for (let n = 0; n < 9; n++) others += await send(null)
      assert.equal(others, 7)
      let members = 0
      for (let n = 0; n < 5; n++) members += await send('2026-11-22T08:30:00Z')
      assert.equal(members, 3)
      assert.match(own.log(), /"event":"sms_budget"/)
    } finally { await own.stop() }
  })

  test('a number that failed a hundred times in a row is locked for unrecognised devices until its owner signs in or an operator unlocks it', async () => {
    const operators = { OPERATOR_TOKENS: `nok:${sha256(env.OPERATOR_TOKEN)}` }
    let own = await worker(operators)
    try {
      const [phone, options] = [freshPhone(), () => ({ base: own.base })]
      const signInHere = async more => {
        const count = (await messages(phone.bare)).length
        const { otp_id: otpId } = ok(await ask(phone, { ...options(), ...more }))
        assert.equal((await hook(phone.bare, options())).status, 200)
        return ok(await verify(otpId, (await awaitSms(phone.bare, count + 1)).code, options()))
      }
      const lock = async () => {
        await own.stop({ retainState: true })
        rewriteObjects(own.persist, 'PhoneNumber', '"unrecognised_failures":0', '"unrecognised_failures":100')
        own = await worker(operators, own.persist)
      }
      const { device_token } = await signInHere()
      await lock()
      limited(await ask(phone, options()), 100)
      await signInHere({ device_token })
      limited(await ask(phone, options()), 1)
      await lock()
      limited(await ask(phone, options()), 100)
      const body = { phone_number: phone.typed, reason: 'test' }
      ok(await call('POST', '/operator/unlock-number', { ...options(), token: env.OPERATOR_TOKEN, body }))
      assert.ok(origin.seen.some(({ url, body: said }) => url.includes('/rpc/audit_operator') && said.action === 'unlock_number' && said.details.operator === 'nok'))
      limited(await ask(phone, options()), 1)
    } finally { await own.stop() }
  })

  test('accepts either of two tokens of each operator and names the operator in the audit log', async () => {
    const tokens = { old: crypto.randomBytes(32).toString('hex'), new: crypto.randomBytes(32).toString('hex'), other: crypto.randomBytes(32).toString('hex') }
    const own = await worker({ OPERATOR_TOKENS: `nok:${sha256(tokens.old)},nok:${sha256(tokens.new)},dao:${sha256(tokens.other)}` })
    try {
      const command = token => call('POST', '/operator/unlock-number', { base: own.base, token, body: { phone_number: freshPhone().typed, reason: 'test' } })
      for (const [token, name] of [[tokens.old, 'nok'], [tokens.new, 'nok'], [tokens.other, 'dao']]) {
        ok(await command(token))
        assert.equal(origin.seen.findLast(({ url }) => url.includes('/rpc/audit_operator')).body.details.operator, name)
        const board = { user_id: uuid(), reason: 'test' }
        ok(await call('POST', '/operator/exclude-from-boards', { base: own.base, token, body: board }))
        assert.deepEqual(origin.seen.findLast(({ url }) => url.includes('/rpc/exclude_from_boards')).body, { ...board, operator_name: name })
      }
      // The hash in the settings is not accepted as a token.
      for (const token of [sha256(tokens.old), `nok:${tokens.old}`, 'nok']) refused(await command(token), 401, 'AUTH_INVALID')
    } finally { await own.stop() }
  })

  test('retains counters, recognised devices and pending codes when the access token key is replaced', async () => {
    const key = () => crypto.randomBytes(32).toString('hex')
    let own = await worker({ JWT_SECRET: key() })
    try {
      const [phone, other] = [freshPhone(), freshPhone()]
      const requested = ok(await ask(phone, { base: own.base }))
      assert.equal((await hook(phone.bare, { base: own.base })).status, 200)
      const { device_token } = ok(await verify(requested.otp_id, (await awaitSms(phone.bare)).code, { base: own.base }))
      const waiting = ok(await ask(other, { base: own.base }))
      assert.equal((await hook(other.bare, { base: own.base })).status, 200)
      const { code } = await awaitSms(other.bare)
      await own.stop({ retainState: true })
      own = await worker({ JWT_SECRET: key() }, own.persist)
      limited(await ask(phone, { base: own.base }), 1, { within: 60 })
      ok(await ask(phone, { base: own.base, device_token }))
      ok(await verify(waiting.otp_id, code, { base: own.base }))
    } finally { await own.stop() }
  })

  test('accepts codes requested before the code key was replaced, while the old key is listed second', async () => {
    const keys = [crypto.randomBytes(32).toString('hex'), crypto.randomBytes(32).toString('hex')]
    let own = await worker({ CODE_SECRET: keys[0] })
    try {
      const phones = [freshPhone(), freshPhone()]
      const waiting = []
      for (const phone of phones) {
        const { otp_id: otpId } = ok(await ask(phone, { base: own.base }))
        assert.equal((await hook(phone.bare, { base: own.base })).status, 200)
        waiting.push([otpId, (await awaitSms(phone.bare)).code])
      }
      const restart = async CODE_SECRET => {
        await own.stop({ retainState: true })
        own = await worker({ CODE_SECRET }, own.persist)
      }
      await restart(`${keys[1]}|${keys[0]}`)
      ok(await verify(...waiting[0], { base: own.base }))
      await restart(keys[1])
      refused(await verify(...waiting[1], { base: own.base }), 401, 'AUTH_INVALID')
    } finally { await own.stop() }
  })

  test('lifts the bot check and the daily messages for load tests, and nothing else', async () => {
    const own = await worker({ NO_LIMITS: 'true', SMS_BUDGET_PER_DAY: '0' })
    try {
      const [from, phone] = [freshAddress(), freshPhone()]
      for (let n = 0; n < 5; n++) ok(await ask(freshPhone(), { base: own.base, from }))
      const requested = ok(await ask(phone, { base: own.base, from }))
      limited(await ask(phone, { base: own.base, from }), 1)
      assert.equal((await hook(phone.bare, { base: own.base })).status, 200)
      const { code } = await awaitSms(phone.bare)
      const tries = await Promise.all(Array.from({ length: 8 }, () => verify(requested.otp_id, otherCode(code), { base: own.base })))
      assert.equal(tries.filter(answer => answer.status === 401).length, 5)
    } finally { await own.stop() }
  })
})

describe('a verified code', () => {
  test('no longer counts against its address', async () => {
    const from = freshAddress()
    for (let n = 0; n < 5; n++) {
      await signIn(freshPhone(), { from })
      await sleep(200)
    }
  })
})

describe('the test number', () => {
  test('signs in with its fixed code and gets no message', async () => {
    const phone = { typed: '0990000000', bare: '66990000000' }
    const requested = await ask(phone)
    // Of two runs within a minute, the resend timer refuses the second, as for every number.
    if (requested.status === 429) return limited(requested, 1, { within: 60 })
    const session = ok(await verify(ok(requested).otp_id, '246810'))
    assert.equal(session.user.phone_number, '+66990000000')
    assert.equal((await messages(phone.bare)).length, 0)
  })
})

describe('an operator', () => {
  const unlock = (body, token = env.OPERATOR_TOKEN) => call('POST', '/operator/unlock-number', { token, body })

  test('unlocks a number, and the audit log has it without the number', async () => {
    const phone = freshPhone()
    const reason = `test ${uuid()}`
    assert.deepEqual(ok(await unlock({ phone_number: phone.typed, reason })), { unlocked: true })
    const [line] = await sql(`select action, actor_role, details from private.audit_log where details ->> 'reason' = $1`, [reason])
    assert.equal(line.action, 'operator.unlock_number')
    assert.equal(line.details.operator, 'local')
    assert.ok(!JSON.stringify(line).includes(phone.bare.slice(2)))
    assert.equal(line.details.ends_in, phone.bare.slice(-2))
  })

  test('needs the key, a number and a reason', async () => {
    const body = { phone_number: freshPhone().typed, reason: 'x' }
    refused(await unlock(body, null), 401, 'AUTH_REQUIRED')
    for (const token of ['x', env.SERVICE_ROLE_KEY, `${env.OPERATOR_TOKEN}x`]) refused(await unlock(body, token), 401, 'AUTH_INVALID')
    refused(await unlock({ ...body, phone_number: '021234567' }), 400, 'VALIDATION_ERROR')
    refused(await unlock({ phone_number: body.phone_number }), 400, 'VALIDATION_ERROR')
    refused(await unlock({ ...body, reason: 'x'.repeat(201) }), 400, 'VALIDATION_ERROR')
  })
})
