// Referrals and cards to share, through the Worker and by rpc.
import { after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { api, closeSql, differences, env, invalidField, ok, refused, serviceClient, signInAnonymously, signInByPhone, sql, supabase, uuid } from './lib.mjs'

after(closeSql)

const entry = () => ({ category_id: 'food_waste', disposal_method: 'composted', weight_kg: 1 })
const codeOf = async someone => ok(await someone.api('POST', '/social/referral/generate', { body: {} })).code
const redeem = (someone, code, options = {}) => someone.api('POST', '/social/referral/redeem', { body: { code }, ...options })
const stats = async someone => ok(await someone.api('GET', '/social/referral/stats'))
/** Creates an entry on each of three days, as if it had been so: only their time of creation is moved. */
const logThreeDays = async someone => {
  for (const days of [0, 1, 2]) {
    const { id } = ok(await someone.api('POST', '/waste/entries', { body: entry() }), 201)
    await sql('update public.waste_entries set created_at = now() - make_interval(days => $2) where id = $1', [id, days])
  }
  await sql(`update private.referrals set created_at = now() - interval '4 days' where referee_id = $1`, [someone.id])
}
const closeReferrals = async () => { while (!(await serviceClient().rpc('close_referrals')).data.finished); }
const pair = async () => {
  const referrer = await signInByPhone()
  const referee = await signInByPhone()
  return { referrer, referee, code: await codeOf(referrer) }
}

describe('a referral', () => {
  test('pays both sides after three days, and two claims at once do not pay twice', async () => {
    const { referrer, referee, code } = await pair()
    assert.deepEqual(await stats(referrer), { code, invited: 0, pending: 0, completed: 0, held: 0, credits_earned: 0, redeemed: null })
    const made = ok(await redeem(referee, ` ${code.slice(0, 4)}-${code.slice(4).toLowerCase()}`))
    assert.deepEqual(made, { referral_id: made.referral_id, status: 'pending', days_needed: 3, days_done: 0 })
    await logThreeDays(referee)
    assert.equal((await stats(referee)).redeemed.days_done, 3)
    // Two runs at once: the second finds nothing to pay.
    await Promise.all([closeReferrals(), closeReferrals(), closeReferrals()])
    assert.deepEqual(await stats(referrer), { code, invited: 1, pending: 0, completed: 1, held: 0, credits_earned: 50, redeemed: null })
    assert.deepEqual((await stats(referee)).redeemed, { ...made, status: 'rewarded', days_done: 3 })
    assert.equal((await stats(referee)).credits_earned, 25)
    assert.deepEqual([await differences(referrer), await differences(referee)], [[], []])
  })

  test('is refused with its code by every interface', async () => {
    const { referrer, referee, code } = await pair()
    const problem = async (someone, code) => refused(await redeem(someone, code), 409, 'CONFLICT').details.fields[0].code
    refused(await redeem(referee, 'ABCD2345'), 404, 'NOT_FOUND')
    refused(await redeem(referee, 'not a code'), 404, 'NOT_FOUND')
    assert.equal(await problem(referrer, code), 'self_referral')
    assert.equal(await problem(referrer, await codeOf(referee)), 'referral_order')
    const byRpc = await supabase(referrer).rpc('redeem_referral', { code })
    assert.deepEqual([byRpc.status, byRpc.error.code, byRpc.error.details], [409, 'PT409', 'carbon.self_referral'])
    ok(await redeem(referee, code))
    assert.equal(await problem(referee, code), 'already_redeemed')
    const ghost = await signInAnonymously()
    refused(await redeem(ghost, code), 403, 'PERMISSION_DENIED')
    refused(await ghost.api('POST', '/social/referral/generate', { body: {} }), 403, 'PERMISSION_DENIED')
    invalidField(await referee.api('POST', '/social/referral/redeem', { body: { code: 7 } }), 'code')
  })

  test('by somebody who blocks the referee is answered like a code that nobody has', async () => {
    const { referrer, referee, code } = await pair()
    await sql('insert into public.user_blocks (blocker_id, blocked_id) values ($1, $2)', [referrer.id, referee.id])
    const [blocked, unknown] = [await redeem(referee, code), await redeem(referee, 'ZZZZ2345')]
    const shown = answer => ({ status: answer.status, error: { ...answer.error, request_id: null } })
    assert.deepEqual(shown(blocked), shown(unknown))
  })

  test('is redeemed once under an Idempotency-Key, and a refusal is tried again', async () => {
    const { referee, code } = await pair()
    const headers = { 'idempotency-key': uuid() }
    const first = await redeem(referee, code, { headers })
    const again = await redeem(referee, code, { headers })
    assert.deepEqual(ok(again), ok(first))
    const other = { 'idempotency-key': uuid() }
    for (const _ of [1, 2]) refused(await redeem(referee, 'ABCD2345', { headers: other }), 404, 'NOT_FOUND')
  })

  test('of two requests at once is one', async () => {
    const { referee, code } = await pair()
    const statuses = (await Promise.all(Array.from({ length: 4 }, () => redeem(referee, code)))).map(answer => answer.status).sort()
    assert.deepEqual(statuses, [200, 409, 409, 409])
  })

  test('that is held waits for an operator', async () => {
    const { referrer, referee, code } = await pair()
    ok(await redeem(referee, code))
    await sql(`insert into public.devices (user_id, device_id) values ($1, $3), ($2, $3)`, [referrer.id, referee.id, `shared-${uuid()}`])
    await logThreeDays(referee)
    await closeReferrals()
    assert.equal((await stats(referrer)).held, 1)
    const { referral_id } = (await stats(referee)).redeemed
    const decide = (body, token = env.OPERATOR_TOKEN) => api('POST', '/operator/decide-referral', { token, body })
    const body = { referral_id, decision: 'pay', reason: 'A family with one tablet.' }
    refused(await decide(body, referrer.token), 401, 'AUTH_INVALID')
    for (const [field, value] of [['referral_id', 'x'], ['decision', 'perhaps'], ['reason', '']]) invalidField(await decide({ ...body, [field]: value }), field)
    refused(await decide({ ...body, referral_id: uuid() }), 404, 'NOT_FOUND')
    assert.deepEqual(ok(await decide(body)), { referral_id, decision: 'pay', changed: true })
    assert.equal(ok(await decide(body)).changed, false)
    refused(await decide({ ...body, decision: 'refuse' }), 409, 'CONFLICT')
    assert.deepEqual([(await stats(referrer)).credits_earned, (await stats(referee)).credits_earned], [50, 25])
  })

  test('does not make an account undeletable', async () => {
    const { referrer, referee, code } = await pair()
    ok(await redeem(referee, code))
    await logThreeDays(referee)
    await closeReferrals()
    await sql('delete from auth.users where id = $1', [referee.id])
    assert.deepEqual([(await stats(referrer)).credits_earned, await differences(referrer)], [50, []])
    await sql('delete from auth.users where id = $1', [referrer.id])
    assert.equal((await sql('select count(*)::integer from private.referrals where referral_code = $1', [code]))[0].count, 0)
  })
})

describe('somebody who was referred', () => {
  test('deletes the account, signs up again, and is not referred again', async () => {
    const { referee, code } = await pair()
    ok(await redeem(referee, code))
    await sql('delete from auth.users where id = $1', [referee.id])
    // Another account with the number, without the minute between two codes.
    const again = await signInByPhone()
    await sql('update auth.users set phone = $2 where id = $1', [again.id, referee.phone.bare])
    assert.equal(refused(await redeem(again, code), 409, 'CONFLICT').details.fields[0].code, 'referral_reused')
  })
})

describe('a card to share', () => {
  test('is about what the caller holds, in their language, and names nobody', async () => {
    const someone = await signInByPhone()
    const share = (path, lang) => someone.api('GET', `/social/share/${path}`, { lang })
    refused(await share('referral'), 404, 'NOT_FOUND')
    refused(await share('achievement?id=first_scan'), 404, 'NOT_FOUND')
    const code = await codeOf(someone)
    ok(await someone.api('POST', '/waste/entries', { body: entry() }), 201)
    const [thai, english] = [ok(await share('referral', 'th')), ok(await share('referral', 'en'))]
    assert.deepEqual([thai.kind, thai.id, english.id], ['referral', code, code])
    assert.ok(thai.text.includes(code) && english.text.includes(code) && thai.title !== english.title)
    assert.deepEqual(Object.keys(english).sort(), ['id', 'kind', 'link', 'text', 'title'])
    assert.ok(english.link.endsWith(`/referral/${code}`))
    assert.ok(ok(await share('achievement?id=first_scan', 'en')).title.startsWith('I earned'))
    for (const path of ['milestone?id=level-5', 'milestone', 'achievement?id=no_such', 'entry?id=1', 'achievement?id=%00', 'milestone?id=referral-1']) {
      refused(await share(path), 404, 'NOT_FOUND')
    }
  })
})
