// 200 threads ask, accept, decline, remove, block and unblock among 20 people: whatever their order, a pair has one row, nobody
// is blocked and a friend, and neighbour rows equal pairs. Then all accounts are deleted at once.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import pg from 'pg'
import { closeSql, env, sql, uuid } from './lib.mjs'

const PEOPLE = 20
const THREADS = 200
const STEPS = 10_000
const SEED = Number(process.env.CARBON_TEST_SEED ?? crypto.randomInt(2 ** 31))

/** Numbers from 0 to below `limit`, the same for the same seed (mulberry32). */
function random(seed) {
  let state = seed
  return limit => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit
  }
}

/** What must never be seen, not even for a moment: one statement, so one snapshot. */
const VIOLATIONS = `
  with own as (select p.* from private.friend_pairs p where p.low_id = any ($1) or p.high_id = any ($1)),
  must as (
    select low_id as user_id, high_id as friend_id, accepted_at as since from own where state = 'accepted'
    union all
    select high_id, low_id, accepted_at from own where state = 'accepted'
  ), neighbours as (select f.user_id, f.friend_id, f.since from private.friends f where f.user_id = any ($1))
  select 'two rows of a pair' as what from own group by least(low_id, high_id), greatest(low_id, high_id) having count(*) > 1
  union all
  select 'blocked and a pair' from public.user_blocks b
  join own p on p.low_id = least(b.blocker_id, b.blocked_id) and p.high_id = greatest(b.blocker_id, b.blocked_id)
  union all
  select 'both block each other' from public.user_blocks b
  join public.user_blocks c on c.blocker_id = b.blocked_id and c.blocked_id = b.blocker_id where b.blocker_id = any ($1)
  union all
  select 'a neighbour without a pair' from (select * from neighbours except select * from must) x
  union all
  select 'a pair without a neighbour' from (select * from must except select * from neighbours) x`

/** Where the id is not the only parameter. */
const NAMED = { request_friend: 'user_id => ' }

/** What each call may be refused with: something else happened first. */
const EXPECTED = new Set(['PT404', 'PT409'])

describe('friends of many threads', () => {
  const people = Array.from({ length: PEOPLE }, uuid)
  const counts = {}
  let pool
  const violations = () => pool.query(VIOLATIONS, [people]).then(result => result.rows.map(row => row.what))

  /** One call about an id as a user, as PostgREST makes it; the SQLSTATE of a refusal, or null. */
  async function act(userId, call, id) {
    const claims = JSON.stringify({ sub: userId, role: 'authenticated' })
    const connection = await pool.connect()
    try {
      await connection.query(`begin; set local synchronous_commit = off; set local role authenticated;
        set local request.jwt.claims = ${pg.escapeLiteral(claims)}; select public.${call}(${NAMED[call] ?? ''}${pg.escapeLiteral(id)}); commit`)
      return null
    } catch (error) {
      await connection.query('rollback')
      return error.code
    } finally {
      connection.release()
    }
  }

  /** A random call of a random user about another. */
  async function step(draw) {
    const me = people[draw(PEOPLE)]
    let other = people[draw(PEOPLE)]
    while (other === me) other = people[draw(PEOPLE)]
    // More requests than blocks, so that there is something to accept.
    const call = ['request_friend', 'request_friend', 'request_friend', 'accept_friend', 'accept_friend', 'reject_friend', 'remove_friend', 'block_user', 'unblock'][draw(9)]
    let refusal
    if (call === 'accept_friend' || call === 'reject_friend') {
      const { rows } = await pool.query('select id from private.friend_pairs where (low_id, high_id) = (least($1::uuid, $2::uuid), greatest($1::uuid, $2::uuid))', [me, other])
      refusal = await act(me, call, rows[0]?.id ?? uuid())
    } else {
      refusal = await act(me, call === 'unblock' ? 'remove_friend' : call, other)
    }
    counts[`${call} ${refusal ?? 'done'}`] = (counts[`${call} ${refusal ?? 'done'}`] ?? 0) + 1
    assert.ok(refusal === null || EXPECTED.has(refusal), `${call} was refused with ${refusal}`)
  }

  before(async () => {
    // The rates are tested elsewhere; here one user asks hundreds of times in a minute.
    pool = new pg.Pool({ connectionString: env.DB_URL, max: 40, options: '-c carbon.limits=off' })
    await pool.query(`insert into auth.users (id, aud, role, phone, phone_confirmed_at, created_at, updated_at)
      select u.id, 'authenticated', 'authenticated', '6660' || lpad((abs(hashtext(u.id::text)) % 10000000)::text, 7, '0'), now(), now(), now()
      from unnest($1::uuid[]) as u (id)`, [people])
  })
  after(async () => {
    await pool.query('delete from auth.users where id = any ($1)', [people])
    await pool.end()
    await closeSql()
  })

  test(`${THREADS} threads, ${STEPS} steps: no moment shows two rows of a pair, a blocked friend, or a wrong neighbour (seed ${SEED})`, async () => {
    let left = STEPS
    let running = true
    const watcher = (async () => {
      while (running) {
        assert.deepEqual(await violations(), [])
        await new Promise(done => setTimeout(done, 200))
      }
    })()
    await Promise.all(Array.from({ length: THREADS }, async (_, thread) => {
      const draw = random(SEED + thread)
      while (left-- > 0) await step(draw)
    }))
    running = false
    await watcher
    assert.deepEqual(await violations(), [])
    for (const call of ['request_friend', 'accept_friend', 'reject_friend', 'remove_friend', 'block_user', 'unblock']) {
      assert.ok(counts[`${call} done`] > 20, `${call} happened: ${JSON.stringify(counts)}`)
    }
    for (const id of people) {
      const [{ found }] = await sql('select private.check_friends($1) as found', [id])
      assert.deepEqual(found, [])
    }
  })

  test('everybody deleted at once, while others go on: nothing is left, and nobody waits for one another', async () => {
    const draw = random(SEED - 1)
    const calls = Array.from({ length: 200 }, () => step(draw))
    const deletions = people.map(id => pool.query('delete from auth.users where id = $1', [id]))
    await Promise.all([...deletions, ...calls])
    const [left] = await sql(`select (select count(*) from private.friend_pairs p where p.low_id = any ($1) or p.high_id = any ($1))
      + (select count(*) from private.friends f where f.user_id = any ($1) or f.friend_id = any ($1))
      + (select count(*) from private.friend_declines d where d.asker_id = any ($1) or d.decliner_id = any ($1))
      + (select count(*) from public.user_blocks b where b.blocker_id = any ($1) or b.blocked_id = any ($1)) as rows`, [people])
    assert.equal(Number(left.rows), 0)
  })
})
