// Boards under concurrency: writers, several slices, repairs and users who hide, all at once; and without a worker.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { api, closeSql, env, ok, refused, serviceClient, rows, signInByPhone, sleep, sql, sqlAs, supabase, uuid, boardsKnow } from './lib.mjs'

const PROVINCE = 'TH-27'
const worker = async () => (await sql(`select pid from pg_stat_activity where backend_type = 'carbon worker'`))[0]?.pid

/** Waits up to half a minute until `found` returns something. */
async function until(what, read) {
  for (let tries = 0; tries < 150; tries++) {
    const found = await read()
    if (found) return found
    await sleep(200)
  }
  assert.fail(`${what} never came`)
}

const create = (someone, weight) => sqlAs(someone, "select public.create_waste_entry(json_build_object('entry', $1::jsonb))",
  [JSON.stringify({ category_id: 'glass_bottles', disposal_method: 'reused', weight_kg: weight })])

/** The board as it is shown once nothing is pending, and as a count of the province's sums. */
async function assertBoard(people) {
  await boardsKnow()
  const shown = rows(await supabase(people[0]).rpc('get_leaderboard', { board_type: 'province', timeframe: 'daily', province: PROVINCE, page_size: 100 }))
  const counted = await sql(`select (rank() over (order by sum(d.credits) desc))::text || ' ' || d.user_id || ' ' || sum(d.credits) as row
    from public.user_days d join private.board_people p on p.user_id = d.user_id and p.is_listed
    where d.province = $1 and d.local_date = carbon.local_date(now(), 'Asia/Bangkok')
    group by d.user_id order by sum(d.credits) desc, d.user_id limit 100`, [PROVINCE])
  assert.deepEqual(shown.leaderboard.map(row => `${row.rank} ${row.user_id} ${row.credits}`), counted.map(one => one.row))
}

describe('boards', () => {
  /** @type {Awaited<ReturnType<typeof signInByPhone>>[]} */
  const people = []
  before(async () => {
    for (let n = 0; n < 6; n++) people.push(await signInByPhone())
    for (const someone of people) ok(await someone.api('PUT', '/user/profile', { body: { province: PROVINCE } }))
  })
  after(async () => {
    await sql('delete from auth.users where id = any($1)', [people.map(someone => someone.id)])
    await closeSql()
  })

  test('pages can be fetched by GET too, where the database is read-only', async () => {
    for (const someone of people) await create(someone, 1)
    await boardsKnow()
    const page = async cursor => rows(await supabase(people[0]).rpc('get_leaderboard',
      { board_type: 'province', timeframe: 'daily', province: PROVINCE, page_size: 2, ...cursor && { cursor } }, { get: true }))
    const [walked, cursors] = [[], []]
    let from = null
    do {
      const [answer, twin] = [await page(from), await page(from)]
      walked.push(...answer.leaderboard.map(row => row.user_id))
      from = answer.next_cursor
      if (from) cursors.push(from, twin.next_cursor)
    } while (from)
    assert.deepEqual(walked.filter(id => people.some(someone => someone.id === id)).sort(), people.map(someone => someone.id).sort())
    assert.equal(new Set(cursors).size, cursors.length, 'two cursors for one place are the same')
    const forged = [...cursors[0]].reverse().join('')
    assert.match((await supabase(people[0]).rpc('get_leaderboard', { cursor: forged }, { get: true })).error.details, /carbon\.cursor_invalid/)
  })

  test('when the worker is killed, it restarts and folds what was written meanwhile', async () => {
    for (let round = 0; round < 3; round++) {
      const ended = await until('a worker', worker)
      await sql('select pg_terminate_backend($1)', [ended])
      for (const someone of people) await create(someone, 1 + Math.floor(Math.random() * 3))
      await until('another worker', async () => { const now = await worker(); return now && now !== ended })
      await assertBoard(people)
    }
    for (const someone of people) assert.deepEqual((await sql('select private.check_boards($1) as d', [someone.id]))[0].d, [])
  })

  test('boards equal a recount after writers, slices, repairs and users who hide, all at once', async () => {
    const service = serviceClient()
    const end = Date.now() + 4000
    const again = async work => { while (Date.now() < end) await work() }
    const any = list => list[Math.floor(Math.random() * list.length)]
    await Promise.all([
      ...people.map(someone => again(() => create(someone, 0.5))),
      again(() => sql(`update public.waste_entries set weight_kg = weight_kg + 0.25, province = case when random() < 0.3 then 'TH-30' else $2 end
        where user_id = $1 and logged_at > now() - interval '1 minute'`, [any(people).id, PROVINCE])),
      again(() => sql(`delete from public.waste_entries where id in (select id from public.waste_entries where user_id = $1 limit 3)`, [any(people).id])),
      again(() => sql('select private.merge_boards(7)')),
      again(async () => { rows(await service.rpc('refresh_leaderboards', { max_users: 50 })) }),
      again(() => sql('update public.profiles set privacy_level = 1 + floor(random() * 3) where id = $1', [any(people).id])),
      again(async () => {
        const user_id = any(people).id
        rows(await service.rpc('exclude_from_boards', { user_id, reason: 'a test' }))
        rows(await service.rpc('include_in_boards', { user_id, reason: 'a test' }))
      }),
    ])
    await sql('update public.profiles set privacy_level = 1 where id = any($1)', [people.map(someone => someone.id)])
    const [{ repairs }] = await sql(`select count(*) as repairs from private.audit_log where action = 'boards_repaired' and at > now() - interval '10 seconds'`)
    assert.equal(repairs, '0', 'nothing had to be repaired')
    await assertBoard(people)
    assert.deepEqual((await sql('select private.check_all_boards() as d'))[0].d, [])
  })

  test('the shared topic announces which boards changed, at most once a second, and nothing personal', async () => {
    for (let n = 0; n < 60; n++) {
      await create(people[n % people.length], 0.1)
      await sleep(30)
    }
    await until('the last message', async () => (await sql('select 1 from private.board_notifications where is_waiting')).length === 0)
    const messages = await sql(`select payload, extract(epoch from inserted_at)::float8 as at
      from realtime.messages where topic = 'leaderboard:live' and event = 'leaderboard_changed' order by inserted_at`)
    let last = 0
    for (const { payload, at } of messages) {
      assert.deepEqual(Object.keys(payload).filter(key => key !== 'id').sort(), ['as_of', 'boards'])
      for (const board of payload.boards) assert.deepEqual(Object.keys(board).sort(), ['board_type', 'province', 'timeframe'])
      assert.ok(at - last >= 1, `after ${at - last} s`)
      last = at
    }
    const announced = messages.flatMap(({ payload }) => payload.boards).filter(board => board.province === PROVINCE)
    assert.deepEqual([...new Set(announced.map(board => board.timeframe))].sort(), ['all_time', 'daily', 'monthly', 'weekly'])
  })

  test('an operator\'s exclusion takes an account off every cached board at once, and can be undone', async () => {
    const [someone] = people
    const decide = (decision, body, token = env.OPERATOR_TOKEN) => api('POST', `/operator/${decision}`, { token, body })
    const board = `/gamification/leaderboard?type=province&province=${PROVINCE}&limit=99`
    const shown = async () => ok(await api('GET', board)).leaderboard.some(row => row.user_id === someone.id)
    const body = { user_id: someone.id, reason: `test ${uuid()}` }
    await create(someone, 1)
    ok(await decide('include-in-boards', body))
    await boardsKnow()
    assert.equal(await shown(), true)
    assert.deepEqual(ok(await decide('exclude-from-boards', body)), { user_id: someone.id, excluded: true, changed: true })
    assert.equal(await shown(), false)
    assert.deepEqual(ok(await decide('exclude-from-boards', body)), { user_id: someone.id, excluded: true, changed: false })
    assert.deepEqual(ok(await decide('include-in-boards', body)), { user_id: someone.id, excluded: false, changed: true })
    await boardsKnow()
    assert.equal(await shown(), true)
    const lines = await sql(`select action, details ->> 'operator' as operator from private.audit_log where subject = $1 and details ->> 'reason' = $2 order by id`, [someone.id, body.reason])
    assert.deepEqual(lines.map(line => line.action), ['included_in_boards', 'excluded_from_boards', 'excluded_from_boards', 'included_in_boards'])
    assert.deepEqual([...new Set(lines.map(line => line.operator))], ['local'])
    refused(await decide('exclude-from-boards', body, null), 401, 'AUTH_REQUIRED')
    refused(await decide('exclude-from-boards', body, someone.token), 401, 'AUTH_INVALID')
    for (const bad of [{ ...body, user_id: 'x' }, { user_id: someone.id }, { ...body, reason: 'x'.repeat(201) }]) {
      refused(await decide('exclude-from-boards', bad), 400, 'VALIDATION_ERROR')
    }
    refused(await decide('exclude-from-boards', { ...body, user_id: uuid() }), 404, 'NOT_FOUND')
  })
})
