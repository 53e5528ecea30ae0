// The hook through which Auth sends SMS: only what Auth signed, only in time, only to Thai mobiles, and never twice.
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { api, awaitSms, env, freshPhone, messages, ok, sleep, uuid } from './lib.mjs'

const key = Buffer.from(env.HOOK_SECRET.split('|')[0].replace('v1,whsec_', ''), 'base64')
const now = () => Math.floor(Date.now() / 1000)

/** Calls the hook as Auth would, except for the parts that are passed. */
function hook(phone, { id = uuid(), at = now(), signedBody, sign = text => `v1,${text}`, otp = '1234567890' } = {}) {
  const raw = JSON.stringify({ user: { id: uuid(), phone }, sms: { otp, phone } })
  const signature = crypto.createHmac('sha256', key).update(`${id}.${at}.${signedBody ?? raw}`).digest('base64')
  return api('POST', '/hooks/send-sms', { raw, headers: { 'webhook-id': id, 'webhook-timestamp': String(at), 'webhook-signature': sign(signature) } })
}

const silent = async bare => { await sleep(300); assert.equal((await messages(bare)).length, 0) }

describe('the SMS hook', () => {
  test('accepts what Auth signed, and one valid signature among several is enough', async () => {
    const { bare } = freshPhone()
    assert.equal((await hook(bare)).status, 200)
    assert.equal((await hook(bare, { sign: good => `v1,${'A'.repeat(43)}= v1,${good}` })).status, 200)
    await silent(bare)
  })

  for (const [name, change] of [['signed ten minutes ago', { at: now() - 600 }], ['signed for the future', { at: now() + 600 }], ['signed for another body', { signedBody: '{}' }],
    ['without a version', { sign: good => good }], ['with an empty signature', { sign: () => 'v1,' }], ['with another key\'s signature', { sign: () => `v1,${crypto.randomBytes(32).toString('base64')}` }],
    ['at a time that is none', { at: 'soon' }]]) {
    test(`refuses a call ${name}`, async () => {
      const { bare } = freshPhone()
      assert.equal((await hook(bare, change)).status, 401)
      await silent(bare)
    })
  }

  test('sends nothing to numbers other than Thai mobiles', async () => {
    for (const phone of ['14155552671', '6621234567', '66601234567', '', '812345678901234']) {
      const answer = await hook(phone)
      assert.ok(answer.status >= 400 && answer.status < 500, `${phone}: ${answer.status} ${answer.text}`)
    }
  })

  test('sends nothing to a number that requested no code', async () => {
    const { bare } = freshPhone()
    assert.equal((await hook(bare)).status, 200)
    await silent(bare)
  })

  test('called again for a code that went out sends no second SMS', async () => {
    const phone = freshPhone()
    ok(await api('POST', '/auth/phone-otp', { body: { phone_number: phone.typed } }))
    await awaitSms(phone.bare)
    const id = uuid()
    for (let calls = 0; calls < 2; calls++) await hook(phone.bare, { id })
    await sleep(300)
    assert.equal((await messages(phone.bare)).length, 1)
  })
})
