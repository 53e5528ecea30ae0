// What the database sends reaches the users who may listen, and nobody else, through supabase-js as an app uses it. The tests
// also pass against a real Realtime server (REALTIME_URL), except those that kill the server or that it would grant.
import { after, afterEach, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { closeSql, env, ok, serviceClient, signInAnonymously, signInByPhone, signToken, sleep, sql } from './lib.mjs'
import { restoreServices, operate } from './faults-fixtures.mjs'
import { Listening, OWN_SERVER, SHARED, cut, eventually, hangUp, join, listener, refusedJoin, sendEvent, topicOf } from './realtime-fixtures.mjs'

const soon = { timeout: 60_000 }
const DENIED = /permissions to read/
const tokenOf = (someone, seconds) => signToken({ ...someone.claims, exp: Math.floor(Date.now() / 1000) + seconds })

describe('realtime', () => {
  let someone
  let other

  before(async () => {
    someone = await signInByPhone()
    other = await signInAnonymously()
  })
  afterEach(hangUp)
  after(closeSql)

  for (const vsn of ['2.0.0', '1.0.0']) {
    test(`an event of the database arrives, by protocol ${vsn}`, soon, async () => {
      const mine = await join(await listener(someone, { vsn }), topicOf(someone))
      await sendEvent(topicOf(someone), 'credits_changed', { total_credits: 42, note: 'ขวดพลาสติก "1"' })
      const { type, payload, meta } = await mine.event('credits_changed')
      assert.equal(type, 'broadcast')
      assert.deepEqual(payload, { id: meta.id, total_credits: 42, note: 'ขวดพลาสติก "1"' })
    })
  }

  test('a person has three topics of their own, an anonymous one too, and the shared one', soon, async () => {
    for (const who of [someone, other]) {
      const client = await listener(who)
      for (const topic of ['gamification', 'challenges', 'friends'].map(kind => topicOf(who, kind)).concat(SHARED)) {
        const mine = await join(client, topic)
        await sendEvent(topic, 'hello')
        await mine.event('hello')
        assert.equal(mine.events.length, 1, topic)
      }
    }
  })

  test('events arrive in the order of commits; rolled-back ones never arrive', soon, async () => {
    const mine = await join(await listener(someone), topicOf(someone))
    await sql(`do $$ begin perform private.send_messages(array[(null, '${topicOf(someone)}', 'undone', '{}')::private.message]); raise exception 'undo'; end $$`).catch(() => {})
    for (let number = 0; number < 20; number++) await sendEvent(topicOf(someone), 'counted', { number })
    await eventually('twenty events', () => mine.events.length >= 20)
    assert.deepEqual(mine.events.map(one => one.payload.number), Array.from({ length: 20 }, (_, number) => number))
  })

  test("another person's topics are refused, and their events do not leak", soon, async () => {
    const client = await listener(other)
    const shared = await join(client, SHARED)
    for (const kind of ['gamification', 'challenges', 'friends']) {
      assert.match(await refusedJoin(client, topicOf(someone, kind)), DENIED)
    }
    const mine = await join(await listener(someone), topicOf(someone))
    await sendEvent(topicOf(someone), 'private_matter')
    await mine.event('private_matter')
    await sendEvent(SHARED, 'last')
    await shared.event('last')
    assert.deepEqual(shared.events.map(one => one.event), ['last'])
  })

  test('the API key alone joins nothing', soon, async () => {
    for (const key of [env.PUBLISHABLE_KEY, env.ANON_KEY]) {
      const client = await listener(null, { key })
      for (const topic of [SHARED, topicOf(someone)]) assert.match(await refusedJoin(client, topic), DENIED)
    }
  })

  test('topics are compared by equality', soon, async () => {
    const client = await listener(someone)
    const own = topicOf(someone)
    const near = [`${own}:x`, `${own} `, ` ${own}`, `${own.slice(0, -1)}_`, `user:${someone.id}:%`, 'user:%:gamification', '%', own.toUpperCase(),
      `user:${someone.id}`, 'leaderboard:%', 'leaderboard:', 'Leaderboard:live', 'leaderboard:live:1', `community:${someone.id}`, 'community:live']
    for (const topic of near) assert.match(await refusedJoin(client, topic), DENIED, topic)
  })

  test('one\'s own topic in capitals is refused, with that as the reason', soon, async () => {
    const client = await listener(someone)
    const capitals = topicOf({ id: someone.id.toUpperCase() })
    const reason = await refusedJoin(client, capitals)
    assert.match(reason, DENIED)
    if (OWN_SERVER) assert.match(reason, /exact strings.*lower case/)
    const mine = await join(client, topicOf(someone))
    await sendEvent(topicOf(someone), 'heard')
    await mine.event('heard')
  })

  test('a session that has ended joins and renews nothing; channels it has joined end with its token', soon, async () => {
    const person = await signInAnonymously()
    const client = await listener(person, { token: tokenOf(person, 6) })
    const mine = await join(client, topicOf(person))
    ok(await person.api('POST', '/auth/logout'))
    for (const topic of [topicOf(person), SHARED]) assert.match(await refusedJoin(await listener(person), topic), DENIED)
    await sendEvent(topicOf(person), 'still_open')
    await mine.event('still_open')
    await client.realtime.setAuth(tokenOf(person, 600))
    await mine.state('CLOSED')
    assert.match(mine.systems.at(-1).message, DENIED)
  })

  for (const [what, change] of [['banned', "banned_until = now() + interval '1 hour'"], ['deleted', 'deleted_at = now()']]) {
    test(`a ${what} person joins nothing`, soon, async () => {
      const person = await signInAnonymously()
      await join(await listener(person), SHARED)
      await sql(`update auth.users set ${change} where id = $1`, [person.id])
      for (const topic of [topicOf(person), SHARED]) assert.match(await refusedJoin(await listener(person), topic), DENIED)
    })
  }

  test('public channels are refused, regardless of their name', soon, async () => {
    const client = await listener(someone)
    for (const config of [undefined, {}, { private: false }, { private: false, broadcast: { self: true } }]) {
      assert.match(await refusedJoin(client, topicOf(someone), config ?? {}), /private channels/)
      assert.match(await refusedJoin(client, 'room:1', config ?? {}), /private channels/)
    }
    const mine = await join(client, topicOf(someone))
    await sql("select realtime.send('{}', 'public_one', $1, false)", [topicOf(someone)])
    await sendEvent(topicOf(someone), 'private_one')
    await mine.event('private_one')
    assert.deepEqual(mine.events.map(one => one.event), ['private_one'], 'a public message is for no private channel')
  })

  test('nobody but the database sends', soon, async () => {
    const topic = topicOf(someone)
    const [here, there] = [await listener(someone), await listener(someone)]
    const mine = await join(here, topic, { private: true, broadcast: { self: true, ack: true } })
    const shared = await join(here, SHARED, { private: true, broadcast: { self: true } })
    const watching = [await join(there, topic), await join(there, SHARED)]
    const answer = await mine.channel.send({ type: 'broadcast', event: 'forged', payload: { credits: 1e6 } }, { timeout: 2_000 })
    assert.notEqual(answer, 'ok')
    await shared.channel.send({ type: 'broadcast', event: 'forged', payload: {} })
    for (const token of [someone.token, env.ANON_KEY]) {
      await fetch(`${env.SUPABASE_URL}/realtime/v1/api/broadcast`, {
        method: 'POST',
        headers: { apikey: env.ANON_KEY, authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ messages: [topic, SHARED].map(name => ({ topic: name, event: 'forged', payload: {}, private: true })) }),
      })
    }
    for (const name of [topic, SHARED]) await sendEvent(name, 'true')
    for (const listening of [mine, shared, ...watching]) {
      await listening.event('true')
      assert.deepEqual(listening.events.map(one => one.event), ['true'])
    }
    const stored = await sql("select count(*) from realtime.messages where event = 'forged'")
    assert.equal(stored[0].count, '0')
  })

  test('a client may not write the table through REST either', soon, async () => {
    for (const client of [await listener(someone), serviceClient()]) {
      const { error } = await client.schema('realtime').from('messages').insert({ topic: SHARED, extension: 'broadcast' })
      assert.ok(error, 'the schema is not exposed')
    }
  })

  test('an expired token joins nothing, and ends the channels it has joined', soon, async () => {
    assert.match(await refusedJoin(await listener(someone, { token: tokenOf(someone, -5) }), SHARED), /expired/)
    const client = await listener(someone, { token: tokenOf(someone, 3) })
    const mine = await join(client, topicOf(someone))
    await mine.state('CLOSED')
    assert.match(mine.systems.at(-1).message, /expired/)
    await sendEvent(topicOf(someone), 'too_late')
    const later = await join(await listener(someone), topicOf(someone))
    await sendEvent(topicOf(someone), 'now')
    await later.event('now')
    assert.deepEqual(mine.events, [])
  })

  test('tokens of another kind are refused', soon, async () => {
    for (const [token, reason] of [
      ['not.a.token', /JWT/],
      [signToken(someone.claims, { secret: 'another secret of some length' }), /signature/],
      [signToken(someone.claims, { header: { alg: 'none', typ: 'JWT' } }), /JWT/],
      [signToken({ sub: someone.id, exp: someone.claims.exp }), /role/],
    ]) {
      assert.match(await refusedJoin(await listener(someone, { token }), topicOf(someone)), reason)
    }
  })

  test('a renewed token continues the channel; another user\'s token ends it', soon, async () => {
    const client = await listener(someone, { token: tokenOf(someone, 4) })
    const mine = await join(client, topicOf(someone))
    await client.realtime.setAuth(tokenOf(someone, 600))
    await sleep(5_000)
    await sendEvent(topicOf(someone), 'after_renewal')
    await mine.event('after_renewal')
    assert.equal(mine.last.status, 'SUBSCRIBED')
    await client.realtime.setAuth(other.token)
    await mine.state('CLOSED')
  })

  test('a real session is renewed by Auth while it listens', soon, async () => {
    const person = await signInAnonymously()
    const client = await listener(person)
    const mine = await join(client, topicOf(person))
    const renewed = ok(await person.api('POST', '/auth/refresh', { body: { refresh_token: person.refreshToken } }))
    await client.realtime.setAuth(renewed.access_token)
    await sendEvent(topicOf(person), 'still_here')
    await mine.event('still_here')
  })

  /** An app that shows a total: it reads it when it has (re)joined, and adopts newer figures from events. */
  async function app(person) {
    const client = await listener(person)
    const shown = { total: -1 }
    const listening = new Listening(client, topicOf(person), { private: true })
    const reread = async () => {
      const [row] = await sql('select coalesce(max(t.credits), 0)::integer as total from public.user_totals as t where t.user_id = $1', [person.id])
      shown.total = Math.max(shown.total, row.total)
    }
    listening.channel.on('broadcast', { event: 'total_changed' }, ({ payload }) => { shown.total = Math.max(shown.total, payload.total) })
    const push = listening.states.push.bind(listening.states)
    listening.states.push = state => {
      if (state.status === 'SUBSCRIBED') void reread()
      return push(state)
    }
    await listening.state('SUBSCRIBED')
    return { client, listening, shown }
  }

  /** Writes an entry and its event in one transaction. */
  const earn = person => sql(`with made as (
      insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone)
      values ($1, 'food_waste', 'composted', 1, 'Asia/Bangkok') returning carbon_credits)
    select private.send_messages(array[(null, $2, 'total_changed', jsonb_build_object('total', (select coalesce(max(t.credits), 0) from public.user_totals as t where t.user_id = $1)
      + (select sum(m.carbon_credits) from made as m)))::private.message])`, [person.id, topicOf(person)])

  /** Earns before, during and after an interruption; the total shown at the end must be the stored one. */
  async function survives(breakOff) {
    const person = await signInAnonymously()
    const { client, listening, shown } = await app(person)
    await earn(person)
    await eventually('the first event', () => shown.total === 22)
    await breakOff(client, () => earn(person))
    await eventually('joined again', () => listening.states.filter(one => one.status === 'SUBSCRIBED').length >= 2)
    await earn(person)
    const [{ credits }] = await sql('select credits from public.user_totals where user_id = $1', [person.id])
    await eventually(`${credits} shown`, () => shown.total === Number(credits))
  }

  test('a client that comes back after a cut re-reads and misses nothing', soon, () => survives(async (client, earnAway) => {
    cut(client)
    await earnAway()
  }))

  if (OWN_SERVER) {
    // The real server grants these joins, and row-level security keeps them empty.
    test('presence and changes of tables are refused by name', soon, async () => {
      const client = await listener(someone)
      assert.match(await refusedJoin(client, topicOf(someone), { private: true }, channel => channel.on('presence', { event: 'sync' }, () => {})), /presence/)
      const changes = channel => channel.on('postgres_changes', { event: '*', schema: 'public', table: 'waste_entries' }, () => {})
      assert.match(await refusedJoin(client, topicOf(someone), { private: true }, changes), /postgres_changes/)
      const mine = await join(client, topicOf(someone))
      assert.notEqual(await mine.channel.track({ here: true }), 'ok')
    })

    describe('and its server', () => {
      afterEach(restoreServices)

      test('killed: clients reconnect on their own and miss nothing', soon, () => survives(async (_, earnAway) => {
        await operate('kill', 'realtime')
        await earnAway()
        await operate('start', 'realtime')
      }))

      test('without its database: channels fail, and are joined again', soon, () => survives(async () => {
        await operate('crash', 'postgres')
        await sleep(500)
        await operate('start', 'postgres')
        await eventually('the database answers', () => sql('select 1').catch(() => false))
      }))
    })
  }
})
