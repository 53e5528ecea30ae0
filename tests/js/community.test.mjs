// Community challenges as an app uses them: the list, joining and leaving, boards, events, and the operators' statements.
import { after, afterEach, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { ROOT, bangkokDay, boardsKnow, closeSql, differences, invalidField, ok, refused, rows, serviceClient, signInAnonymously, signInByPhone, sql, sqlAs, supabase, uuid } from './lib.mjs'
import { hangUp, join, listener, refusedJoin } from './realtime-fixtures.mjs'

const soon = { timeout: 60_000 }
const bottle = (weight_kg, more = {}) => ({ category_id: 'glass_bottles', disposal_method: 'returned', weight_kg, ...more })

/** Makes a challenge as an operator does. */
async function make(more = {}) {
  const answer = await serviceClient().rpc('make_community_challenge', { challenge: {
    title_th: 'สัปดาห์ขวดแก้ว', title_en: 'A Week for Glass', description_th: 'คืนขวดแก้วด้วยกัน', description_en: 'Return glass together',
    challenge_type: 'national', criteria: { metric: 'weight_kg', category_id: 'glass_bottles' }, target_value: 4000,
    start_date: bangkokDay(-2), end_date: bangkokDay(4), credits_reward: 25, min_contribution: 500, ...more } })
  assert.equal(answer.error, null)
  return answer.data
}

const cancel = id => sql('select public.cancel_community_challenge($1, $2)', [id, 'the test has ended'])
const shown = async (who, id, query = '') => ok(await who.api('GET', `/social/challenges${query}`, { lang: 'en' })).challenges.find(one => one.id === id)

describe('community challenges', () => {
  let one
  let other
  let id

  before(async () => {
    one = await signInByPhone()
    other = await signInByPhone()
    id = (await make()).id
  })
  afterEach(hangUp)
  after(async () => { await cancel(id); await closeSql() })

  test('a challenge is listed with what is needed, in the language of the caller', async () => {
    const challenge = await shown(one, id)
    assert.deepEqual(
      { ...challenge, milestones: challenge.milestones.length },
      { id, title: 'A Week for Glass', description: 'Return glass together', challenge_type: 'national', province: null, status: 'active',
        metric: 'weight_kg', unit: 'g', target_value: 4000, total: 0, percent: 0, participants: 0, start_date: bangkokDay(-2), end_date: bangkokDay(4),
        credits_reward: 25, min_contribution: 500, milestones: 4, joined: false, own_contribution: null, own_rank: null })
    assert.equal(await shown(one, id, '?joined=true'), undefined)
    assert.equal(await shown(one, id, '?status=upcoming'), undefined)
    invalidField(await one.api('GET', '/social/challenges?status=open'), 'status')
    invalidField(await one.api('GET', '/social/challenges?joined=yes'), 'joined')
  })

  test('joining is one write with a key, and refusals say why', async () => {
    const headers = { 'Idempotency-Key': uuid() }
    const route = `/social/challenges/join/${id}`
    const joined = await one.api('POST', route, { headers })
    assert.equal(ok(joined).joined, true)
    assert.deepEqual(ok(await one.api('POST', route, { headers })), joined.data)
    refused(await one.api('POST', route), 409, 'CONFLICT')
    refused(await one.api('POST', `/social/challenges/join/${uuid()}`), 404, 'NOT_FOUND')
    invalidField(await one.api('POST', '/social/challenges/join/7'), 'id')
    const anonymous = await signInAnonymously()
    const answer = await anonymous.api('POST', route)
    refused(answer, 403, 'PERMISSION_DENIED')
    refused(await other.api('DELETE', route), 404, 'NOT_FOUND')
  })

  test('participants hear of progress and milestones, others cannot listen', soon, async () => {
    await assert.match(await refusedJoin(await listener(other), `community:${id}`), /permissions to read/)
    const mine = await join(await listener(one), `community:${id}`)
    ok(await one.api('POST', '/waste/entries', { body: bottle(1) }), 201)
    const milestone = await mine.event('community_milestone')
    assert.equal(milestone.payload.milestone, 25)
    const progress = await mine.event('community_progress')
    assert.deepEqual([progress.payload.total, progress.payload.target, progress.payload.percent], [1000, 4000, 25])
  })

  test('everybody who contributed enough is rewarded once the target is reached, and a deletion takes it back', soon, async () => {
    ok(await other.api('POST', `/social/challenges/join/${id}`))
    const heavy = ok(await other.api('POST', '/waste/entries', { body: bottle(3) }), 201)
    await boardsKnow()
    const challenge = await shown(one, id)
    assert.deepEqual([challenge.total, challenge.percent, challenge.participants, challenge.own_contribution, challenge.own_rank], [4000, 100, 2, 1000, 2])
    assert.ok(challenge.milestones.every(milestone => milestone.reached_at))
    await sql('select private.evaluate_community_rewards(2000)')
    const rewards = who => sqlAs(who, "select event, credits, name_en from public.credit_history where source = 'community' order by number")
    for (const who of [one, other]) assert.deepEqual(await rewards(who), [{ event: 'granted', credits: 25, name_en: 'A Week for Glass' }])
    ok(await other.api('DELETE', `/waste/entries/${heavy.id}`))
    assert.deepEqual((await rewards(other)).map(row => row.credits), [25, -25])
    ok(await other.api('POST', '/waste/entries', { body: bottle(0.5) }), 201)
    assert.deepEqual((await rewards(other)).map(row => row.credits), [25, -25, 25])
    for (const who of [one, other]) assert.deepEqual(await differences(who), [])
  })

  test('contributors and provinces have boards, with the masks of every board', async () => {
    await sql("update public.profiles set privacy_level = 2, display_name = 'X' where id = $1", [other.id])
    await boardsKnow()
    const board = await one.api('GET', `/social/leaderboard/community?challenge_id=${id}`)
    const { leaderboard, current_user: own, unit } = ok(board)
    assert.deepEqual(leaderboard.map(row => [row.rank, row.user_id, row.contribution, row.masked, row.is_current_user]), [[1, one.id, 1000, false, true], [2, null, 500, true, false]])
    assert.deepEqual([own, unit, board.meta.next_cursor], [{ rank: 1, contribution: 1000, percentile: 100 }, 'g', null])
    const first = await one.api('GET', `/social/leaderboard/community?challenge_id=${id}&limit=1`)
    const second = ok(await one.api('GET', `/social/leaderboard/community?challenge_id=${id}&limit=1&cursor=${first.meta.next_cursor}`))
    assert.deepEqual(second.leaderboard.map(row => row.rank), [2])
    const provinces = ok(await one.api('GET', `/social/leaderboard/community?challenge_id=${id}&by=provinces`))
    assert.deepEqual(provinces.leaderboard, [{ province: null, total: 1500, participants: 2, rank: null }])
    invalidField(await one.api('GET', '/social/leaderboard/community'), 'challenge_id')
    invalidField(await one.api('GET', `/social/leaderboard/community?challenge_id=${id}&by=schools`), 'by')
    refused(await one.api('GET', `/social/leaderboard/community?challenge_id=${uuid()}`), 404, 'NOT_FOUND')
  })

  test("who leaves takes the contribution out of the group's total", async () => {
    assert.equal(ok(await other.api('DELETE', `/social/challenges/join/${id}`)).joined, false)
    await boardsKnow()
    const challenge = await shown(one, id)
    assert.deepEqual([challenge.total, challenge.participants], [1000, 1])
    assert.deepEqual(await differences(other), [])
  })

  test("a school's challenge is joined with its code, and seen by its participants alone", async () => {
    const school = await make({ challenge_type: 'school' })
    assert.equal(await shown(one, school.id), undefined)
    const route = `/social/challenges/join/${school.id}`
    for (const join_code of [undefined, null, '2222-2222', 'x\0', '']) {
      refused(await one.api('POST', route, { body: { join_code } }), 403, 'PERMISSION_DENIED')
    }
    invalidField(await one.api('POST', route, { body: { join_code: 7 } }), 'join_code')
    ok(await one.api('POST', route, { body: { join_code: `${school.join_code.slice(0, 4).toLowerCase()}-${school.join_code.slice(4)}` } }))
    assert.equal((await shown(one, school.id))?.challenge_type, 'school')
    refused(await other.api('GET', `/social/leaderboard/community?challenge_id=${school.id}`), 404, 'NOT_FOUND')
    const seen = async who => rows(await supabase(who).from('community_challenges').select('id').eq('id', school.id)).length
    assert.deepEqual([await seen(one), await seen(other)], [1, 0])
    await cancel(school.id)
    assert.equal((await shown(one, school.id, '?status=ended')).status, 'cancelled')
    ok(await one.api('DELETE', route))
  })

  test('supabase-js reads own participations and joins by rpc', async () => {
    const own = rows(await supabase(one).from('community_participations').select('challenge_id, contribution').eq('challenge_id', id))
    assert.deepEqual(own, [{ challenge_id: id, contribution: 1000 }])
    const answer = await supabase(one).rpc('join_community_challenge', { challenge_id: id })
    assert.deepEqual([answer.status, answer.error.details], [409, 'carbon.challenge_joined'])
  })

  test('the statements that docs/gamification.md prints make a challenge and cancel it', async () => {
    const page = fs.readFileSync(path.join(ROOT, 'docs/gamification.md'), 'utf8')
    const printed = mark => new RegExp(`<!-- ${mark} -->\\s*\`\`\`sql\\n([\\s\\S]*?)\`\`\``).exec(page)[1]
    await sqlAs(undefined, printed('community'), [], 'service_role')
    await sqlAs(undefined, printed('cancel'), [], 'service_role')
    const made = await sql("select status from public.community_challenges where title_en = 'A Week for Compost'")
    assert.ok(made.length > 0 && made.every(row => row.status === 'cancelled'))
  })
})
