// What the tests of limits share: requests from chosen addresses, the hook as Auth calls it, and further Workers with their own
// settings beside the running one.
import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import assert from 'node:assert/strict'
import { ROOT, deviceInfo, env, ok, uuid } from './lib.mjs'

/** An unused address: all of 127.0.0.0/8 is this machine. */
export const freshAddress = () => `127.${crypto.randomInt(1, 255)}.${crypto.randomInt(0, 256)}.${crypto.randomInt(1, 255)}`

/** Calls a Worker's API from an address; returns what `api` of lib.mjs does. */
export function call(method, route, { from = freshAddress(), base = env.API_URL, token, body, raw, headers = {} } = {}) {
  const { hostname: host, port } = new URL(base)
  const payload = raw ?? (body && JSON.stringify(body))
  return new Promise((done, fail) => {
    const request = http.request({
      host, port, method, path: `/api/v1${route}`, localAddress: from, agent: false,
      headers: {
        'accept-language': 'en', ...(payload && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
        ...(token && { authorization: `Bearer ${token}` }), ...headers,
      },
    }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', part => { text += part }).on('end', () => {
        let json
        try { json = JSON.parse(text) } catch { json = undefined }
        done({ status: response.statusCode, headers: new Headers(response.headers), text, json, data: json?.data, error: json?.error })
      })
    })
    request.on('error', fail).end(payload)
  })
}

/** An anonymous user, signed in from an address of their own. */
export async function someone(base = env.API_URL) {
  const session = ok(await call('POST', '/auth/anonymous', { base, body: { device_info: deviceInfo() } }))
  return (method, route, options = {}) => call(method, route, { base, token: session.access_token, ...options })
}

/** Asserts a complete refusal by a limit; returns its details. */
export function limited(answer, limit, { within } = {}) {
  assert.equal(answer.status, 429, `${answer.status} ${answer.text}`)
  assert.equal(answer.error.code, 'RATE_LIMITED')
  const { details } = answer.error
  assert.equal(details.limit, limit)
  assert.equal(details.remaining, 0)
  const wait = Number(answer.headers.get('retry-after'))
  const left = (Date.parse(details.reset_at) - Date.now()) / 1000
  assert.ok(Number.isInteger(wait) && wait >= 1, `Retry-After ${answer.headers.get('retry-after')}`)
  assert.ok(Math.abs(wait - left) < 3, `Retry-After ${wait} and reset_at in ${left} s agree`)
  if (within) assert.ok(wait <= within, `${wait} s is at most ${within} s`)
  return details
}

/**
 * Sends `count` requests, `atOnce` at a time, because one user may have 8 in flight in the database, 2 of them imports or
 * batches. Returns how many were let in, and asserts that this limit refused all others.
 */
export async function letIn(count, limit, request, atOnce = 6) {
  const answers = []
  let next = 0
  const line = async () => { while (next < count) answers.push(await request(next++)) }
  await Promise.all(Array.from({ length: atOnce }, line))
  const refusals = answers.filter(answer => answer.status === 429)
  for (const answer of refusals) limited(answer, limit)
  return count - refusals.length
}

/** Calls the SMS hook as Auth would. */
export function hook(bare, { base, id = uuid(), confirmed = null } = {}) {
  const key = Buffer.from(env.HOOK_SECRET.split('|')[0].replace('v1,whsec_', ''), 'base64')
  const at = Math.floor(Date.now() / 1000)
  const raw = JSON.stringify({ user: { id: uuid(), phone: bare, phone_confirmed_at: confirmed }, sms: { otp: '1234567890', phone: bare } })
  const signature = crypto.createHmac('sha256', key).update(`${id}.${at}.${raw}`).digest('base64')
  return call('POST', '/hooks/send-sms', { base, raw, headers: { 'webhook-id': id, 'webhook-timestamp': String(at), 'webhook-signature': `v1,${signature}` } })
}

/** A small server on a free port that answers JSON, computed by a function of the parsed request. */
export async function server(answer) {
  const seen = []
  const listener = http.createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    const question = text && JSON.parse(text)
    seen.push({ url: request.url, body: question })
    const [status, body] = await answer(question, request)
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return { url: `http://127.0.0.1:${listener.address().port}`, seen, stop: () => new Promise(done => { listener.closeAllConnections(); listener.close(done) }) }
}

/** An origin that accepts everything the Worker sends; the tests call the hook themselves. */
export const acceptingOrigin = () => server((_, { url }) => {
  if (url.startsWith('/auth/v1/verify')) return [200, { access_token: 'a', refresh_token: 'r', expires_in: 3600, user: { id: uuid() } }]
  if (url.startsWith('/rest/v1/rpc/register_device')) return [200, { user: { id: uuid(), phone_number: null, is_new_user: true, onboarding_completed: false } }]
  return [200, {}]
})

/** Starts another Worker with these settings, beside the running one. */
export async function startWorker(settings = {}, persist = fs.mkdtempSync(path.join(os.tmpdir(), 'carbon-limits-'))) {
  const port = await freePort()
  const shared = Object.fromEntries(['ANON_KEY', 'SERVICE_ROLE_KEY', 'JWT_SECRET', 'NAMES_SECRET', 'CODE_SECRET', 'EDGE_SECRET', 'EDGE_ADDRESS_SECRET', 'HOOK_SECRET', 'METRICS_TOKEN', 'SUPABASE_URL', 'INBOX_URL']
    .map(name => [name, env[name]]))
  const child = spawn(process.execPath, [path.join(ROOT, 'edge/serve.mjs')], {
    env: {
      PATH: process.env.PATH, HOME: process.env.HOME, ENVIRONMENT: 'local', SMS_PROVIDER: 'inbox', JWT_ISSUER: `${env.SUPABASE_URL}/auth/v1`, ...shared,
      PORT_API: String(port), EDGE_PERSIST: persist, ...settings,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => { log += text })
  const ended = once(child, 'exit')
  for (let tries = 0; !log.includes('ready '); tries++) {
    assert.ok(tries < 300 && child.exitCode === null, `the Worker starts: ${log}`)
    await new Promise(done => setTimeout(done, 100))
  }
  return {
    base: `http://127.0.0.1:${port}`,
    persist,
    log: () => log,
    async stop({ retainState = false } = {}) {
      child.kill('SIGTERM')
      await ended
      if (!retainState) fs.rmSync(persist, { recursive: true, force: true })
    },
  }
}

/** Replaces `from` by `to` in everything that the Durable Objects of a class have stored, while no Worker runs. */
export function rewriteObjects(persist, className, from, to) {
  const code = `import glob, sqlite3, sys
for file in glob.glob(sys.argv[1] + '/do/*-' + sys.argv[2] + '/*.sqlite'):
    if 'metadata' in file: continue
    with sqlite3.connect(file) as base: base.execute('update state set body = replace(body, ?, ?)', sys.argv[3:5])`
  const { status, stderr } = spawnSync('python3', ['-c', code, persist, className, from, to], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
}

async function freePort() {
  const listener = http.createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address()
  await new Promise(done => listener.close(done))
  return port
}
