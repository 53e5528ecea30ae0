// How the fault tests operate services (`cargo xtask service`), and the load meanwhile: users who write all the time, repeat
// calls without an answer with the same offline_id, and record what was acknowledged.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import pg from 'pg'
import { ROOT, api, differences, env, signInAnonymously, sleep, sql, supabase, uuid } from './lib.mjs'

/** No answer takes longer, regardless of what is down (milliseconds). */
export const LONGEST_ANSWER = 10_000
/** Nor does recovery, once the failed service has returned. */
export const LONGEST_RECOVERY = 10_000

const run = promisify(execFile)
// The suite passes the program; by hand it is run through cargo.
const [program, ...words] = process.env.XTASK ? [process.env.XTASK] : ['cargo', '--quiet', 'xtask']

const touched = new Set()

/** Starts, stops, kills, crashes, pauses or resumes a service. */
export function operate(action, service) {
  touched.add(service)
  return run(program, [...words, 'service', action, service], { cwd: ROOT })
}

/** Restores services that a failed test left halted or down. */
export async function restoreServices() {
  for (const service of touched) {
    await operate('resume', service).catch(() => {})
    await operate('start', service)
  }
  touched.clear()
}

/** Asserts the answer of every outage: 503 in the envelope, with Retry-After, in time. */
export async function outage(what, call) {
  const begun = performance.now()
  const answer = await call()
  const took = performance.now() - begun
  assert.equal(answer.status, 503, `${what}: ${answer.status} ${answer.text ?? JSON.stringify(answer.error)}`)
  assert.ok(took < LONGEST_ANSWER, `${what} took ${Math.round(took)} ms`)
  // supabase-js does not show headers.
  if (answer.headers) assert.ok(Number(answer.headers.get('retry-after')) >= 1, `${what}: Retry-After`)
  if (answer.json?.success !== undefined) assert.equal(answer.error.code, 'SERVICE_UNAVAILABLE', what)
  return took
}

/** REST by plain fetch, as the user. */
export async function rest(someone, method, route, body) {
  const response = await fetch(`${env.SUPABASE_URL}/rest/v1/${route}`, {
    method,
    headers: { apikey: env.ANON_KEY, authorization: `Bearer ${someone.token}`, 'content-type': 'application/json', prefer: 'return=representation' },
    body: body && JSON.stringify(body),
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

/** Auth through the gateway, as supabase-js would call it. */
export async function refreshByGateway(token) {
  const response = await fetch(`${env.SUPABASE_URL}/auth/v1/token?grant_type=refresh_token`, {
    method: 'POST', headers: { apikey: env.ANON_KEY, 'content-type': 'application/json' }, body: JSON.stringify({ refresh_token: token }),
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

/** Repeats the call until it succeeds; returns how long that took in milliseconds, and asserts the contract's limit. */
export async function recovery(what, call) {
  const begun = performance.now()
  for (;;) {
    const answer = await call().catch(error => ({ status: 0, text: String(error) }))
    const took = performance.now() - begun
    if (answer.status >= 200 && answer.status < 300) {
      assert.ok(took < LONGEST_RECOVERY, `${what}: back only after ${Math.round(took)} ms`)
      return took
    }
    assert.ok(took < 3 * LONGEST_RECOVERY, `${what}: not back, ${answer.status} ${answer.text}`)
    await sleep(50)
  }
}

export const entry = (more = {}) => ({ category_id: 'glass_bottles', disposal_method: 'reused', weight_kg: 0.25, ...more })

/** Users who write through the Worker and REST until the load ends. */
export class Load {
  constructor(people) {
    this.people = people
    this.acknowledged = new Map(people.map(one => [one.id, new Set()]))
    this.wrong = []
    this.retries = 0
    this.serviceMayBeDown = false
  }

  static async begin(count = 3) {
    const load = new Load(await Promise.all(Array.from({ length: count }, signInAnonymously)))
    load.work = load.people.flatMap(one => [load.write(one, true), load.write(one, false)])
    return load
  }

  async write(someone, byWorker) {
    while (!this.ended) {
      const body = entry({ offline_id: uuid() })
      while (!await this.send(someone, body, byWorker)) {
        this.retries++
        await sleep(200)
      }
      this.acknowledged.get(someone.id).add(body.offline_id)
      await sleep(60)
    }
  }

  /** One try; returns whether it was acknowledged. */
  async send(someone, body, byWorker) {
    const begun = performance.now()
    let answer
    try {
      answer = byWorker ? await api('POST', '/waste/entries', { token: someone.token, body }) : await rest(someone, 'POST', 'rpc/create_waste_entry', { entry: body })
    } catch (error) {
      if (!this.serviceMayBeDown) this.wrong.push(`${byWorker ? 'Worker' : 'REST'}: ${error.cause ?? error}`)
      return false
    }
    const took = performance.now() - begun
    if (took > LONGEST_ANSWER && !this.serviceMayBeDown) this.wrong.push(`${answer.status} after ${Math.round(took)} ms`)
    if (answer.status === 200 || answer.status === 201) return true
    if (answer.status !== 503 || !answer.headers.get('retry-after')) this.wrong.push(`${answer.status} ${answer.text}`)
    return false
  }

  /** Ends the load; asserts that all answers were correct and that exactly the acknowledged entries are stored, each once. */
  async end() {
    this.ended = true
    await Promise.all(this.work)
    assert.deepEqual(this.wrong.slice(0, 5), [])
    for (const someone of this.people) {
      const stored = await sql('select offline_id from public.waste_entries where user_id = $1', [someone.id])
      const acknowledged = this.acknowledged.get(someone.id)
      assert.equal(stored.length, acknowledged.size, 'as many entries as were acknowledged')
      assert.ok(stored.every(row => acknowledged.has(row.offline_id)), 'each of them acknowledged')
      assert.deepEqual(await differences(someone), [])
    }
  }
}

/** Runs `work` while another session holds a lock that every write needs. */
export async function whileLocked(work) {
  const client = new pg.Client({ connectionString: env.DB_URL })
  await client.connect()
  try {
    await client.query('begin; lock table private.user_state in access exclusive mode')
    await work()
  } finally {
    await client.end()
  }
}

/** Runs `work` while every connection of PostgreSQL that is not reserved for superusers is taken. */
export async function whileFull(work) {
  const clients = []
  try {
    for (;;) {
      const client = new pg.Client({ connectionString: env.DB_URL })
      // When the database restarts, ended sessions emit an error event, which must have a listener.
      client.on('error', () => {})
      await client.connect()
      clients.push(client)
      if (clients.length > 200) assert.fail('PostgreSQL has no limit of connections')
    }
  } catch (error) {
    if (error.code !== '53300') throw error
    await work()
  } finally {
    await Promise.all(clients.map(client => client.end()))
  }
}

/** supabase-js as the user, one try only: by default it repeats reads after Retry-After. */
export const selectByApp = someone => supabase(someone).from('waste_entries').select('id').retry(false)
