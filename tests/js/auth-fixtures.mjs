// Fixtures for the tests of Auth: a server with its own database, a hook that answers as a test sets it, and the calls of the
// tests. AUTH_BIN (with AUTH_MIGRATIONS) names a real Supabase Auth; without it the
// project's own server runs, AUTH_LOCAL_BIN or the one that `cargo xtask up` built.
import { spawn } from 'node:child_process'
import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import assert from 'node:assert/strict'
import pg from 'pg'

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const HOOK_KEY = crypto.randomBytes(32)
const JWT_SECRET = crypto.randomBytes(24).toString('hex')

/** The number that needs no SMS, and its fixed code. */
export const TEST_NUMBER = { phone: '66812345678', code: '123456' }
/** Seconds after which a replaced refresh token counts as copied; short, so that tests need not wait long. */
export const REUSE_SECONDS = 1
/** Whether the real server is under test. */
export const isReal = Boolean(process.env.AUTH_BIN)

export const sleep = milliseconds => new Promise(done => setTimeout(done, milliseconds))

function databaseUrl() {
  if (process.env.DB_URL) return process.env.DB_URL
  const file = path.join(ROOT, '.local/env')
  const line = fs.existsSync(file) && fs.readFileSync(file, 'utf8').split('\n').find(one => one.startsWith('DB_URL='))
  assert.ok(line, 'DB_URL is not set: start the system with "cargo xtask up" first')
  return line.slice('DB_URL='.length)
}

async function withClient(url, work) {
  const client = new pg.Client({ connectionString: String(url) })
  await client.connect()
  try { return await work(client) } finally { await client.end() }
}

const freePort = () => new Promise((done, failed) => {
  const server = net.createServer().once('error', failed)
  server.listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => done(port)) })
})

/** A database with an empty schema auth, and a role that owns it. */
async function createDatabase() {
  const admin = new URL(databaseUrl())
  const name = `auth_check_${crypto.randomBytes(4).toString('hex')}`
  const password = crypto.randomBytes(12).toString('hex')
  await withClient(admin, async client => {
    await client.query(`create role ${name} login createrole password '${password}'`)
    await client.query(`alter role ${name} set search_path = auth`)
    await client.query(`create database ${name}`)
    await client.query(`grant create on database ${name} to ${name}`)
    if (!(await client.query(`select from pg_roles where rolname = 'postgres'`)).rowCount) await client.query('create role postgres')
  })
  const inside = new URL(admin)
  inside.pathname = `/${name}`
  await withClient(inside, client => client.query(`create schema auth authorization ${name}`))
  // The access token hook: a table that tests write says how it changes the claims.
  await withClient(inside, client => client.query(`
    create schema hooks;
    create table hooks.changes (dropped text[] not null, added jsonb not null, seen jsonb);
    insert into hooks.changes values ('{}', '{}');
    create function hooks.claims(event jsonb) returns jsonb language plpgsql security definer set search_path = '' as $$
    declare change record;
    begin
      update hooks.changes set seen = event returning dropped, added into change;
      return jsonb_build_object('claims', (event -> 'claims') - change.dropped || change.added);
    end $$;
    grant usage on schema hooks to ${name}`))
  const owner = new URL(inside)
  Object.assign(owner, { username: name, password })
  const drop = () => withClient(admin, async client => {
    await client.query(`drop database ${name} with (force)`)
    await client.query(`drop role ${name}`)
  })
  return { superuser: String(inside), owner: `${owner}?sslmode=disable`, drop }
}

/** The SMS hook: records what it receives and answers as `mode` says (ok, none, refuse, 500, busy, hang). */
class Hook {
  mode = 'ok'
  hits = 0
  last = undefined

  async start() {
    this.server = http.createServer((request, response) => this.#take(request, response))
    await new Promise(done => this.server.listen(0, '127.0.0.1', done))
    return this.server.address().port
  }

  #take(request, response) {
    const chunks = []
    request.on('data', chunk => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      const { 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': signature } = request.headers
      const expected = crypto.createHmac('sha256', HOOK_KEY).update(`${id}.${at}.${body}`).digest('base64')
      this.hits++
      this.last = { signed: signature === `v1,${expected}`, id, age: Date.now() / 1000 - Number(at), ...JSON.parse(body) }
      this.#answer(response)
    })
  }

  #answer(response) {
    const json = (status, body) => { response.writeHead(status, { 'content-type': 'application/json' }); response.end(body) }
    switch (this.mode) {
      case 'hang': return
      case 'busy': response.writeHead(503, { 'retry-after': '1' }); return response.end()
      case '500': return json(500, '{}')
      case 'none': response.writeHead(204); return response.end()
      case 'refuse': return json(200, '{"error":{"http_code":429,"message":"the budget is spent"}}')
      default: return json(200, '{}')
    }
  }

  stop() {
    this.server.closeAllConnections()
    return new Promise(done => this.server.close(done))
  }
}

function program() {
  if (isReal) {
    assert.ok(process.env.AUTH_MIGRATIONS, 'AUTH_BIN needs AUTH_MIGRATIONS, the folder of its migrations')
    return [process.env.AUTH_BIN, []]
  }
  const local = process.env.AUTH_LOCAL_BIN ?? path.join(ROOT, '.local/bin/carbon-local')
  assert.ok(fs.existsSync(local), 'AUTH_LOCAL_BIN must name the carbon-local program; "cargo xtask up" builds one')
  return [local, ['auth']]
}

/** The settings that the tests depend on. */
function settings(database, port, hookPort) {
  const address = `http://127.0.0.1:${port}`
  return {
    PATH: process.env.PATH,
    PORT: String(port),
    API_EXTERNAL_URL: address,
    GOTRUE_API_HOST: '127.0.0.1',
    GOTRUE_SITE_URL: address,
    GOTRUE_DB_DRIVER: 'postgres',
    GOTRUE_DB_DATABASE_URL: database.owner,
    GOTRUE_DB_MIGRATIONS_PATH: process.env.AUTH_MIGRATIONS ?? '',
    GOTRUE_JWT_SECRET: JWT_SECRET,
    GOTRUE_JWT_EXP: '3600',
    GOTRUE_JWT_AUD: 'authenticated',
    GOTRUE_JWT_DEFAULT_GROUP_NAME: 'authenticated',
    GOTRUE_JWT_ADMIN_ROLES: 'service_role',
    GOTRUE_JWT_ISSUER: `${address}/auth/v1`,
    GOTRUE_EXTERNAL_PHONE_ENABLED: 'true',
    GOTRUE_EXTERNAL_EMAIL_ENABLED: 'false',
    GOTRUE_EXTERNAL_ANONYMOUS_USERS_ENABLED: 'true',
    GOTRUE_SMS_OTP_LENGTH: '6',
    GOTRUE_SMS_OTP_EXP: '300',
    GOTRUE_SMS_MAX_FREQUENCY: '1s',
    GOTRUE_SMS_TEST_OTP: `${TEST_NUMBER.phone}:${TEST_NUMBER.code}`,
    GOTRUE_HOOK_SEND_SMS_ENABLED: 'true',
    GOTRUE_HOOK_SEND_SMS_URI: `http://127.0.0.1:${hookPort}/`,
    GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_ENABLED: 'true',
    GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_URI: 'pg-functions://postgres/hooks/claims',
    GOTRUE_HOOK_SEND_SMS_SECRETS: `v1,whsec_${HOOK_KEY.toString('base64')}`,
    GOTRUE_SECURITY_REFRESH_TOKEN_REUSE_INTERVAL: String(REUSE_SECONDS),
    GOTRUE_SESSIONS_INACTIVITY_TIMEOUT: '168h',
    GOTRUE_MAILER_OTP_EXP: '60',
    GOTRUE_RATE_LIMIT_SMS_SENT: '10000',
    GOTRUE_LOG_LEVEL: 'warn',
  }
}

/** Starts everything. `stop` ends it and drops the database. */
export async function startAuth() {
  const database = await createDatabase()
  const hook = new Hook()
  const [command, args] = program()
  const port = await freePort()
  const child = spawn(command, args, { env: settings(database, port, await hook.start()), stdio: ['ignore', 'pipe', 'pipe'] })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', text => { log += text })
  const ended = new Promise(done => child.once('exit', done))
  const base = `http://127.0.0.1:${port}`
  const stop = async () => {
    child.kill('SIGTERM')
    const code = await ended
    await hook.stop()
    await database.drop()
    return code
  }
  for (let tries = 0; ; tries++) {
    const answer = await fetch(`${base}/health`).catch(() => undefined)
    if (answer?.ok) break
    if (tries > 300 || child.exitCode !== null) {
      await stop()
      throw new Error(`the Auth server did not start:\n${log}`)
    }
    await sleep(100)
  }
  return { base, hook, stop, log: () => log, sql: (text, values) => withClient(database.superuser, client => client.query(text, values)).then(result => result.rows) }
}

const encode = value => Buffer.from(JSON.stringify(value)).toString('base64url')
const mac = text => crypto.createHmac('sha256', JWT_SECRET).update(text).digest('base64url')

/** Signs claims with the server's secret. */
export function sign(claims, header = { alg: 'HS256', typ: 'JWT' }) {
  const text = `${encode(header)}.${encode(claims)}`
  return `${text}.${mac(text)}`
}

/** The claims of a token whose signature is right. */
export function claimsOf(token) {
  const [header, payload, signature] = token.split('.')
  assert.equal(mac(`${header}.${payload}`), signature, 'the shared secret signs with HS256')
  assert.equal(JSON.parse(Buffer.from(header, 'base64url')).alg, 'HS256')
  return JSON.parse(Buffer.from(payload, 'base64url'))
}

/** The calls, bound to an instance. */
export function caller(instance) {
  const call = async (method, route, { body, raw, token, headers } = {}) => {
    const response = await fetch(instance.base + route, {
      method,
      headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }), ...headers },
      body: raw ?? (body === undefined ? undefined : JSON.stringify(body)),
    })
    const text = await response.text()
    let json
    try { json = JSON.parse(text) } catch { json = undefined }
    return { status: response.status, headers: response.headers, text, json }
  }
  const run = String(crypto.randomInt(1e5)).padStart(5, '0')
  let serial = 0
  const service = sign({ role: 'service_role', exp: 4_000_000_000 })
  return {
    call,
    /** An unused number, without "+". */
    newNumber: () => `6689${run}${String(serial++).padStart(2, '0')}`,
    askCode: (phone, more) => call('POST', '/otp', { body: { phone: `+${phone}`, ...more } }),
    verify: (phone, code, type = 'sms', token) => call('POST', '/verify', { body: { type, phone: `+${phone}`, token: code }, token }),
    refresh: token => call('POST', '/token?grant_type=refresh_token', { body: { refresh_token: token } }),
    /** Calls /admin/… as the service. */
    admin: (method, route, body) => call(method, `/admin${route}`, { body, token: service }),
    /** Signs a number in by a code. */
    async signIn(phone) {
      const requested = await this.askCode(phone)
      assert.equal(requested.status, 200, requested.text)
      return ok(await this.verify(phone, instance.hook.last.sms.otp))
    },
  }
}

/** The JSON of a success. */
export function ok(answer, status = 200) {
  assert.equal(answer.status, status, answer.text)
  return answer.json
}

/** Asserts an error with its status and code, in the body and in the header. */
export function refused(answer, status, code) {
  assert.equal(answer.status, status, answer.text)
  assert.equal(answer.json?.error_code, code, answer.text)
  assert.equal(answer.json.code, status)
  assert.equal(typeof answer.json.msg, 'string')
  assert.equal(answer.headers.get('x-sb-error-code'), code)
}
