// The database server itself: its settings, what it logs of a request, and its background worker.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import { closeSql, env, ROOT, signInAnonymously, sleep, sql, sqlAs } from './lib.mjs'

after(closeSql)

/** Waits up to ten seconds until `found` returns something. */
async function until(what, read, pause = 100) {
  for (const end = Date.now() + 10_000; Date.now() < end;) {
    const found = await read()
    if (found) return found
    await sleep(pause)
  }
  assert.fail(`${what} never came`)
}

test('every scheduled job runs as written, even one that commits between its slices', async () => {
  const jobs = await sql("select jobname, command from cron.job where jobname like 'carbon_%' order by jobname")
  assert.ok(jobs.length > 10)
  const client = new pg.Client(env.DB_URL)
  await client.connect()
  try {
    for (const { jobname, command } of jobs) {
      await client.query('set statement_timeout = 60000')
      await assert.doesNotReject(client.query(command), jobname)
    }
  } finally { await client.end() }
})

test('the server runs with every setting of supabase/postgresql.conf', async () => {
  const lines = fs.readFileSync(path.join(ROOT, 'supabase/postgresql.conf'), 'utf8').split('\n')
  const settings = lines.filter(line => /^[a-z]/.test(line)).map(line => {
    const [, name, value] = /^([a-z_.]+) = '?(.*?)'?$/.exec(line)
    return { name, value }
  })
  assert.ok(settings.length > 20)
  for (const { name, value } of settings) {
    const [running] = await sql(`select s.setting, s.unit, s.pending_restart, current_setting(s.name) as shown, f.setting as in_file, f.error
      from pg_settings as s left join pg_file_settings as f on lower(f.name) = lower(s.name) and f.applied where s.name ilike $1`, [name])
    assert.ok(running, `${name} is unknown to the server`)
    assert.deepEqual([running.in_file, running.error, running.pending_restart], [value, null, false], name)
    const same = ['ms', 's', 'min'].includes(running.unit) ? '$1::interval = $2::interval'
      : ['kB', '8kB', 'MB'].includes(running.unit) ? 'pg_size_bytes($1) = pg_size_bytes($2)' : 'lower($1) = lower($2)'
    const number = running.unit === null || running.unit === 'B'
    assert.deepEqual(await sql(`select ${same} as same`, [number ? running.setting : running.shown, value]), [{ same: true }],
      `${name} is ${running.shown}, not ${value}`)
  }
})

describe('the server\'s log', () => {
  const file = path.join(ROOT, '.local/logs/postgres.log')
  let someone
  let start = 0
  const written = () => fs.readFileSync(file).subarray(start).toString('utf8')
  const line = sign => until(`a line with ${sign}`, () => written().split('\n').find(one => one.includes(sign)))
  before(async () => { someone = await signInAnonymously() })
  const mark = () => { start = fs.statSync(file).size }

  test('names a request by its id and hides the value that could not be parsed; the client gets the entire message', async () => {
    mark()
    const id = crypto.randomBytes(16).toString('hex')
    const answer = await fetch(`${env.REST_URL}/waste_entries?select=id&weight_kg=eq.0812345678x`, {
      headers: { authorization: `Bearer ${someone.token}`, 'x-request-id': id },
    })
    assert.equal(answer.status, 400)
    assert.equal((await answer.json()).message, 'invalid input syntax for type numeric: "0812345678x"')
    const logged = await line(id)
    assert.match(logged, /22P02 authenticator .*ERROR: {2}invalid input syntax for type numeric: "\.\.\." \(request [0-9a-f]{32}\)$/)
    assert.ok(!written().includes('0812345678'), 'neither the statement nor anything else holds the value')
  })

  test('hides values of statements, searches, keys and slow statements, at every verbosity', async () => {
    const secret = `note${crypto.randomBytes(8).toString('hex')}`
    for (const verbosity of ['terse', 'default', 'verbose']) {
      for (const [state, statement, message] of [
        ['22P02', `select '${secret}'::numeric`, `invalid input syntax for type numeric: "${secret}"`],
        ['22P02', `select '{"a": ${secret}'::json`, 'invalid input syntax for type json'],
        ['22P02', `select E'a\\'${secret}'::uuid, 'b'`, `invalid input syntax for type uuid: "a'${secret}"`],
        ['42601', `select to_tsquery('simple', '${secret} & &')`, `syntax error in tsquery: "${secret} & &"`],
        ['23505', `insert into log_test select '${secret}' from generate_series(1, 2)`,
          'duplicate key value violates unique constraint "log_test_pkey"'],
        ['22012', `select 1 / length(replace($$${secret}$$, '${secret}', ''))`, 'division by zero'],
      ]) {
        const client = new pg.Client({ connectionString: env.DB_URL })
        await client.connect()
        try {
          await client.query(`create temp table log_test (note text primary key); grant all on log_test to authenticated;
            set log_error_verbosity = '${verbosity}'`)
          mark()
          await client.query('set role authenticated')
          const error = await client.query(statement).catch(one => one)
          assert.deepEqual([error.code, error.message], [state, message])
          const logged = await line(` ${state} `)
          assert.ok(logged.includes('ERROR:'), logged)
          await sleep(20)
          assert.ok(!written().includes(secret), `${verbosity}: ${statement.replaceAll(secret, '…')} left its value in the log`)
        } finally {
          await client.end()
        }
      }
    }
    const client = new pg.Client({ connectionString: env.DB_URL })
    await client.connect()
    mark()
    await client.query('set log_min_duration_statement = 0')
    await client.query('set role authenticated')
    await client.query(`select 'slow', '${secret}'`)
    await line(`select '...', '...'`)
    await client.end()
    assert.ok(!written().includes(secret))
  })

  test('is written once for each error, with the statement, and without an id where there is no request', async () => {
    mark()
    await assert.rejects(sqlAs(someone, `select 1 / 0 as once`), { code: '22012' })
    await line('as once')
    await sleep(50)
    assert.equal(written().match(/division by zero/g)?.length, 1)
    assert.doesNotMatch(written(), /request/)
  })

  test('hides a value that a parallel worker could not parse, in the worker\'s line and in its leader\'s', async () => {
    const [{ name }] = await sql(`select name from pg_settings where name in ('force_parallel_mode', 'debug_parallel_query')`)
    const client = new pg.Client({ connectionString: env.DB_URL })
    await client.connect()
    mark()
    try {
      await client.query(`set ${name} = on`)
      await client.query('set role authenticated')
      // A table whose policy does not use auth.uid(), which is not parallel safe: no parallel worker reads personal rows.
      await assert.rejects(client.query('select name_en::numeric from public.waste_categories'), /invalid input syntax for type numeric: "[A-Z]/)
    } finally {
      await client.end()
    }
    const lines = await until('both lines', () => {
      const found = written().split('\n').filter(one => one.includes('invalid input syntax'))
      return found.length === 2 && found
    })
    for (const one of lines) assert.match(one, / 22P02 .*ERROR: {2}invalid input syntax for type numeric: "\.\.\."/)
    assert.equal(new Set(lines.map(one => /\[(\d+)\]/.exec(one)[1])).size, 2, 'of two processes')
  })

  test('is unchanged for superusers', async () => {
    mark()
    await assert.rejects(sql(`select 'an operator''s typing mistake'::numeric`), { code: '22P02' })
    await line(`invalid input syntax for type numeric: "an operator's typing mistake"`)
  })
})

describe('the worker', () => {
  let someone
  before(async () => {
    someone = await signInAnonymously()
    await sql(`update cron.job set active = false where jobname = 'carbon_boards'`)
  })
  after(() => sql(`update cron.job set active = true where jobname = 'carbon_boards'`))
  const create = () => sqlAs(someone, "select public.create_waste_entry(json_build_object('entry', $1::jsonb))",
    [JSON.stringify({ category_id: 'glass_bottles', disposal_method: 'reused', weight_kg: 1 })])

  test("raises the outbox's low-water mark behind the last change within seconds", async () => {
    for (let n = 0; n < 3; n++) {
      await create()
      const [{ last }] = await sql('select last_value as last from private.outbox_id_seq')
      await until('a mark behind the last change', async () =>
        (await sql('select 1 from private.worker_state where low_water_mark > $1', [last])).length === 1)
    }
  })

  test('reports what it writes, so that autovacuum sees the rows it leaves dead', async () => {
    const counted = async () => {
      const [row] = await sql(`select sum(n_tup_upd + n_tup_ins)::int as scores, (select n_tup_del::int from pg_stat_user_tables where relid = 'private.outbox'::regclass) as taken
        from pg_stat_user_tables where relid = 'private.board_scores'::regclass`)
      return row
    }
    const before = await counted()
    await create()
    await until('a row of boards in the statistics', async () => {
      const now = await counted()
      return now.scores > before.scores && now.taken > before.taken
    })
  })

  test('is woken by a commit: the effects of a write appear at once, those of a rolled-back write never', async () => {
    const took = []
    for (let n = 0; n < 10; n++) {
      // Out of step with the worker's own timer.
      await sleep(130 + 37 * n)
      await create()
      const [{ revision }] = await sql('select revision from public.user_totals where user_id = $1', [someone.id])
      const begun = Date.now()
      await until('the message', async () => (await sql(`select 1 from realtime.messages
        where topic = $1 and event = 'credits_changed' and payload ->> 'revision' = $2`, [`user:${someone.id}:gamification`, revision])).length === 1, 5)
      took.push(Date.now() - begun)
    }
    took.sort((one, other) => one - other)
    assert.ok(took[5] < 150, `half of them within ${took[5]} ms: ${took}`)
  })

  test('neither loses nor repeats anything when it is killed at any moment', async () => {
    const person = await signInAnonymously()
    const worker = async () => (await sql(`select pid from pg_stat_activity where backend_type = 'carbon worker'`))[0]?.pid
    const before = await worker()
    const killing = (async () => {
      for (let n = 0; n < 4; n++) {
        const pid = await until('a worker', worker)
        await sql('select pg_terminate_backend($1)', [pid])
        await sleep(300)
      }
    })()
    for (let n = 0; n < 60; n++) {
      await sqlAs(person, "select public.create_waste_entry(json_build_object('entry', $1::jsonb))",
        [JSON.stringify({ category_id: 'glass_bottles', disposal_method: 'reused', weight_kg: 1 })])
      await sleep(15)
    }
    await killing
    await until('an empty outbox', async () => (await sql('select 1 from private.outbox where user_id = $1', [person.id])).length === 0)
    assert.notEqual(await worker(), before)
    assert.deepEqual((await sql('select private.check_boards($1) as d', [person.id]))[0].d, [])
    const announced = await sql(`select (payload ->> 'revision')::int as revision from realtime.messages
      where topic = $1 and event = 'credits_changed' order by 1`, [`user:${person.id}:gamification`])
    assert.deepEqual(announced.map(one => one.revision), Array.from({ length: 60 }, (_, n) => n + 1))
  })

  test('uses no transaction ids while there is nothing to do', async () => {
    const next = async () => Number((await sql(`select pg_snapshot_xmax(pg_current_snapshot())::text as id`))[0].id)
    // The minute's jobs use some, but not in every window, and each window has a turn of the worker.
    const used = []
    for (let n = 0; n < 6; n++) {
      const first = await next()
      await sleep(1100)
      used.push(await next() - first)
    }
    assert.equal(Math.min(...used), 0, used.join(' '))
  })
})
