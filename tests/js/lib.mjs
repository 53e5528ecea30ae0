// What all end-to-end tests share: the addresses of the running system, users to act as, and the three interfaces (the
// Worker's API, supabase-js, SQL). The rules of the domain are not here but in figures.mjs.
import crypto from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import assert from 'node:assert/strict'
import { createClient } from '@supabase/supabase-js'
import pg from 'pg'
import ws from 'ws'

/** The root directory of the checkout. */
export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')

/** The addresses and keys that `cargo xtask up` wrote; the process environment overrides each by its name. */
function loadEnv() {
  const file = path.join(ROOT, '.local/env')
  /** @type {Record<string, string>} */
  const env = {}
  if (fs.existsSync(file)) {
    for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
      const at = line.indexOf('=')
      if (at > 0 && !line.startsWith('#')) env[line.slice(0, at)] = line.slice(at + 1)
    }
  }
  const names = ['API_URL', 'SUPABASE_URL', 'ANON_KEY', 'SERVICE_ROLE_KEY', 'JWT_SECRET', 'DB_URL', 'INBOX_URL', 'METRICS_TOKEN',
    'NAMES_SECRET', 'CODE_SECRET', 'EDGE_SECRET', 'EDGE_ADDRESS_SECRET', 'HOOK_SECRET', 'OPERATOR_TOKEN', 'AUTH_URL', 'REST_URL', 'REALTIME_URL', 'PUBLISHABLE_KEY', 'SECRET_KEY']
  for (const name of names) if (process.env[name]) env[name] = process.env[name]
  for (const name of ['API_URL', 'SUPABASE_URL', 'ANON_KEY', 'SERVICE_ROLE_KEY', 'JWT_SECRET', 'DB_URL', 'INBOX_URL']) {
    assert.ok(env[name], `${name} is not set: start the system with "cargo xtask up" first`)
  }
  return env
}

export const env = loadEnv()
export const sleep = milliseconds => new Promise(done => setTimeout(done, milliseconds))

// Tests may use "today" several times and must mean the same day, so shortly before midnight in Bangkok they wait for it.
const toMidnight = 86_400_000 - ((Date.now() + 7 * 3_600_000) % 86_400_000)
if (toMidnight < 120_000) await sleep(toMidnight + 2_000)

export const uuid = () => crypto.randomUUID()

/** An unused Thai mobile number: eight digits after 08 or 09, `{typed: '0…', e164: '+66…', bare: '66…'}`. */
export function freshPhone() {
  const digits = `${crypto.randomInt(8, 10)}${String(crypto.randomInt(0, 1e8)).padStart(8, '0')}`
  return { typed: `0${digits}`, e164: `+66${digits}`, bare: `66${digits}` }
}

/**
 * Calls the Worker's API. `body` is sent as JSON, `raw` unchanged; `type` replaces the content type (null sends none).
 * Returns `{status, headers, text, json, data, error, meta}`; `json` is undefined when the body is not JSON.
 */
export async function api(method, route, { token, body, raw, type, lang, headers } = {}) {
  const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body))
  const contentType = type === undefined && payload !== undefined ? 'application/json' : type
  const response = await fetch(`${env.API_URL}/api/v1${route}`, {
    method,
    headers: {
      ...(contentType && { 'content-type': contentType }),
      ...(token && { authorization: `Bearer ${token}` }),
      ...(lang && { 'accept-language': lang }),
      ...headers,
    },
    body: payload,
  })
  const text = await response.text()
  let json
  try { json = JSON.parse(text) } catch { json = undefined }
  return { status: response.status, headers: response.headers, text, json, data: json?.data, error: json?.error, meta: json?.meta }
}

/** Asserts a success envelope with the status and returns its data. */
export function ok(answer, status = 200) {
  assert.equal(answer.status, status, `expected ${status}, got ${answer.status}: ${answer.text.slice(0, 600)}`)
  assert.equal(answer.json?.success, true, answer.text.slice(0, 300))
  return answer.data
}

/** Asserts a failure envelope with status and code and returns its error. */
export function refused(answer, status, code) {
  assert.equal(answer.status, status, `expected ${status} ${code}, got ${answer.status}: ${answer.text.slice(0, 600)}`)
  assert.equal(answer.json?.success, false, answer.text.slice(0, 300))
  assert.equal(answer.error.code, code, answer.text.slice(0, 300))
  assert.equal(typeof answer.error.message, 'string')
  assert.ok(answer.error.message.length > 0, 'an error has a message')
  assert.equal(typeof answer.error.request_id, 'string')
  return answer.error
}

/** Whether the call was refused because the same, or another long call of the user, is running: the only 429 after which the
 * outcome is unknown. */
export const isAlreadyRunning = answer => answer.status === 429 && answer.error?.details?.reason === 'already_running'

/** Repeats the request, as docs/retrying.md says, until no twin is running; returns the answer. */
export async function untilDone(request) {
  for (let tries = 0; tries < 300; tries++) {
    const answer = await request()
    if (!isAlreadyRunning(answer)) return answer
    assert.ok(Number(answer.headers.get('retry-after')) >= 1, 'a limit says when to come again')
    await sleep(100)
  }
  assert.fail('a twin has been running for 30 s')
}

/** Asserts a VALIDATION_ERROR that names the field and returns that field's detail. */
export function invalidField(answer, field) {
  const error = refused(answer, 400, 'VALIDATION_ERROR')
  const detail = error.details?.fields?.find(one => one.field === field)
  assert.ok(detail, `details name ${field}: ${JSON.stringify(error.details)}`)
  assert.equal(typeof detail.code, 'string')
  assert.ok(detail.message?.length > 0)
  return detail
}

/** The inbox's messages to the number, newest first. */
export async function messages(bare) {
  const response = await fetch(`${env.INBOX_URL}/sms?phone=${bare}`)
  assert.equal(response.status, 200, 'the inbox answers')
  return response.json()
}

/** Waits for the n-th SMS (1 is the first) to the number and returns the newest one. */
export async function awaitSms(bare, count = 1) {
  for (let tries = 0; tries < 50; tries++) {
    const found = await messages(bare)
    if (found.length >= count) return found[0]
    await sleep(100)
  }
  assert.fail(`no SMS number ${count} came for ${bare}`)
}

export const deviceInfo = (deviceId = `device-${uuid()}`, platform = 'android') =>
  ({ device_id: deviceId, platform, app_version: '2.4.0' })

/** The complete phone sign-in: requests a code, reads it from the inbox, and verifies it. */
export async function signInByPhone(phone = freshPhone(), device = deviceInfo()) {
  const before = (await messages(phone.bare)).length
  const requested = ok(await api('POST', '/auth/phone-otp', { body: { phone_number: phone.typed } }))
  const sms = await awaitSms(phone.bare, before + 1)
  const session = ok(await api('POST', '/auth/verify-otp', {
    body: { otp_id: requested.otp_id, otp_code: sms.code, device_info: device },
  }))
  return person(session, phone, device)
}

/** A new anonymous user: the cheapest user with an empty diary. */
export async function signInAnonymously() {
  const device = deviceInfo()
  const answer = await api('POST', '/auth/anonymous', { body: { device_info: device } })
  return person(ok(answer, answer.status === 201 ? 201 : 200), null, device)
}

function person(session, phone, device) {
  assert.equal(typeof session.access_token, 'string')
  const claims = claimsOf(session.access_token)
  const call = (method, route, options = {}) => api(method, route, { token: session.access_token, ...options })
  return { id: claims.sub, token: session.access_token, refreshToken: session.refresh_token, session, phone, device, claims, api: call }
}

export const claimsOf = token => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString())

/** Signs claims as Auth does, for tokens that it would never issue. */
export function signToken(claims, { secret = env.JWT_SECRET, header = { alg: 'HS256', typ: 'JWT' } } = {}) {
  const part = value => Buffer.from(JSON.stringify(value)).toString('base64url')
  const text = `${part(header)}.${part(claims)}`
  return `${text}.${crypto.createHmac('sha256', secret).update(text).digest('base64url')}`
}

const clientOptions = { auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false }, realtime: { transport: ws } }

/** supabase-js as the user, or as a signed-out visitor. */
export function supabase(someone, key = env.ANON_KEY) {
  const global = someone ? { headers: { Authorization: `Bearer ${someone.token}` } } : undefined
  return createClient(env.SUPABASE_URL, key, { ...clientOptions, ...(global && { global }) })
}

/** supabase-js with the service key. */
export const serviceClient = () => supabase(undefined, env.SERVICE_ROLE_KEY)

/** Asserts that a supabase-js answer is a success and returns its data. */
export function rows(answer) {
  assert.equal(answer.error, null, JSON.stringify(answer.error))
  return answer.data
}

let pool
const numbersAsText = { getTypeParser: (oid, format) => (oid === 1700 || oid === 20 || oid === 1082 ? value => value : pg.types.getTypeParser(oid, format)) }

function newPool() {
  const made = new pg.Pool({ connectionString: env.DB_URL, max: 8, types: numbersAsText })
  // Idle connections break when the database stops; the next query opens a new one.
  made.on('error', () => {})
  return made
}

/** Runs SQL as the superuser; numeric, bigint and date come back as text. */
export async function sql(text, values = []) {
  pool ??= newPool()
  return (await pool.query(text, values)).rows
}

/** Waits, at most half a minute, until nothing is pending for boards; it does not end while others write without pause. */
export async function boardsKnow() {
  for (let tries = 0; tries < 1500; tries++) {
    if ((await sql('select 1 from private.outbox limit 1')).length === 0) return
    await sleep(20)
  }
  assert.fail('the outbox was not emptied')
}

/** Runs one statement in a transaction with the role and claims that PostgREST would use for the user. */
export async function sqlAs(someone, text, values = [], role = 'authenticated') {
  pool ??= newPool()
  const connection = await pool.connect()
  try {
    await connection.query('begin')
    await connection.query(`select set_config('request.jwt.claims', $1, true), set_config('role', $2, true)`,
      [JSON.stringify(someone?.claims ?? { role }), role])
    const result = await connection.query(text, values)
    await connection.query('commit')
    return result.rows
  } catch (error) {
    await connection.query('rollback')
    throw error
  } finally {
    connection.release()
  }
}

/** Closes the database connections; test files that used SQL call it last. */
export const closeSql = async () => { await pool?.end(); pool = undefined }

/** The differences between the user's derived data and a recomputation; [] when there are none. */
export async function differences(someone) {
  const [row] = await sql('select to_jsonb(public.check_user($1)) as found', [someone.id])
  return row?.found ?? []
}

/** Today's date in Bangkok as YYYY-MM-DD, n days later. */
export function bangkokDay(offset = 0) {
  const at = new Date(Date.now() + offset * 86_400_000)
  return new Intl.DateTimeFormat('en-CA', { timeZone: 'Asia/Bangkok' }).format(at)
}

/** Noon in Bangkok, n days from today, never in the future for today: an instant as ISO text. */
export function bangkokInstant(dayOffset, time = '12:00:00') {
  const at = new Date(`${bangkokDay(dayOffset)}T${time}+07:00`)
  return (dayOffset === 0 && at > new Date() ? new Date(Date.now() - 1000) : at).toISOString()
}
