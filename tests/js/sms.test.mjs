// Delivery by the real provider's API: a second Worker that is configured for it, against the provider's double in the inbox.
// Regardless of the provider's answer, no code is sent twice, and the log has no number and no code.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { spawn } from 'node:child_process'
import { ROOT, awaitSms, env, freshPhone, messages, sleep, uuid } from './lib.mjs'

const DOUBLE = `${env.INBOX_URL}/thaibulksms`
const ACCOUNT = { SMS_PROVIDER: 'thaibulksms', SMS_URL: DOUBLE, SMS_SENDER: 'CarbonPix', THAIBULKSMS_KEY: 'local-sms-key', THAIBULKSMS_SECRET: 'local-sms-secret' }
const NAMES = ['SUPABASE_URL', 'ANON_KEY', 'SERVICE_ROLE_KEY', 'JWT_SECRET', 'NAMES_SECRET', 'CODE_SECRET', 'EDGE_SECRET', 'EDGE_ADDRESS_SECRET', 'HOOK_SECRET', 'METRICS_TOKEN']

const freePort = () => new Promise(done => {
  const server = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => done(port))
  })
})

/** Starts another Worker with these settings; its output can be read from a log. */
async function startWorker(name, settings) {
  const port = await freePort()
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'carbon-sms-'))
  const log = path.join(ROOT, '.local/logs/test', `${name}.log`)
  fs.mkdirSync(path.dirname(log), { recursive: true })
  const out = fs.openSync(log, 'w')
  const child = spawn('node', [path.join(ROOT, 'edge/serve.mjs')], {
    stdio: ['ignore', out, out],
    env: {
      PATH: process.env.PATH, HOME: process.env.HOME, PORT_API: String(port), EDGE_PERSIST: folder, ENVIRONMENT: 'local', NO_LIMITS: 'true',
      JWT_ISSUER: `${env.SUPABASE_URL}/auth/v1`, ...Object.fromEntries(NAMES.map(name => [name, env[name]])), ...settings,
    },
  })
  const worker = { url: `http://127.0.0.1:${port}/api/v1`, log: () => fs.readFileSync(log, 'utf8') }
  worker.stop = async () => {
    const ended = new Promise(done => child.once('exit', done))
    child.kill('SIGTERM')
    await ended
    fs.closeSync(out)
    fs.rmSync(folder, { recursive: true, force: true })
  }
  for (let tries = 0; tries < 150; tries++) {
    if (await fetch(`${worker.url}/health/live`).then(answer => answer.ok, () => false)) return worker
    assert.equal(child.exitCode, null, `the Worker ended: ${worker.log().slice(-2000)}`)
    await sleep(100)
  }
  assert.fail(`the Worker does not answer: ${worker.log().slice(-2000)}`)
}

/** Calls the Worker's hook as Auth would. */
function hook(worker, bare) {
  const body = JSON.stringify({ user: { id: uuid(), phone: bare }, sms: { otp: String(crypto.randomInt(1e9, 1e10)), phone: bare } })
  const [id, at] = [uuid(), String(Math.floor(Date.now() / 1000))]
  const key = Buffer.from(env.HOOK_SECRET.split('|')[0].replace('v1,whsec_', ''), 'base64')
  const signature = crypto.createHmac('sha256', key).update(`${id}.${at}.${body}`).digest('base64')
  return fetch(`${worker.url}/hooks/send-sms`, {
    method: 'POST', body,
    headers: { 'content-type': 'application/json', 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': `v1,${signature}` },
  })
}

const endings = new Set()

/** A number whose last three digits, all that a log shows, are unique here. */
function ownPhone() {
  for (;;) {
    const phone = freshPhone()
    if (!endings.has(phone.bare.slice(-3))) {
      endings.add(phone.bare.slice(-3))
      return phone
    }
  }
}

/** Has this Worker send a code to a new number while the provider answers as configured; returns the number. */
async function sendCode(worker, answers = []) {
  const phone = ownPhone()
  const ordered = await fetch(`${DOUBLE}/answers`, { method: 'POST', body: JSON.stringify({ phone: phone.bare, answers }) })
  assert.equal(ordered.status, 204)
  const requested = await fetch(`${worker.url}/auth/phone-otp`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ phone_number: phone.typed }),
  })
  assert.equal(requested.status, 200, await requested.text())
  // Auth's own call went to the other Worker, which has no pending code for this number.
  const hooked = await hook(worker, phone.bare)
  assert.equal(hooked.status, 200, await hooked.text())
  return phone
}

const calls = async bare => (await fetch(`${DOUBLE}/calls?phone=${bare}`)).json()

/** Waits for the line of the Worker's log with the outcome of the delivery to this number. */
async function outcome(worker, bare, within = 14_000) {
  const until = Date.now() + within
  while (Date.now() < until) {
    const lines = worker.log().split('\n').filter(line => line.includes('"sms_') && line.includes(`******${bare.slice(-3)}`))
    if (lines.length > 0) return JSON.parse(lines.at(-1).slice(lines.at(-1).indexOf('{')))
    await sleep(50)
  }
  assert.fail('the log says nothing of the delivery')
}

describe('the SMS provider', { concurrency: 6 }, () => {
  /** @type {Awaited<ReturnType<typeof startWorker>>} */
  let worker
  before(async () => { worker = await startWorker('sms-worker', ACCOUNT) })
  after(() => worker?.stop())

  test('receives a code once, in Thai, in one message', async () => {
    const phone = await sendCode(worker)
    const sms = await awaitSms(phone.bare)
    assert.match(sms.code, /^\d{6}$/)
    assert.match(sms.text, /[\u0e00-\u0e7f]/)
    assert.ok(sms.text.length <= 70, sms.text)
    assert.equal((await outcome(worker, phone.bare)).event, 'sms_sent')
    assert.deepEqual(await calls(phone.bare), [{ phone: phone.bare, answer: 'sent' }])
  })

  for (const answers of [['throttled'], ['unavailable'], ['throttled', 'unavailable']]) {
    test(`that has not accepted the code (${answers.join(', ')}) is called again`, async () => {
      const phone = await sendCode(worker, answers)
      const end = await outcome(worker, phone.bare)
      assert.equal(end.event, 'sms_sent')
      assert.equal((await messages(phone.bare)).length, 1)
      assert.deepEqual((await calls(phone.bare)).map(call => call.answer), ['sent', ...answers.toReversed()])
    })
  }

  test('that is out of service is called three times, and then the log says so', async () => {
    const phone = await sendCode(worker, ['unavailable', 'unavailable', 'unavailable', 'sent'])
    const end = await outcome(worker, phone.bare)
    assert.deepEqual([end.level, end.event], ['error', 'sms_failed'])
    assert.match(end.what, /down: answered 503/)
    assert.equal((await calls(phone.bare)).length, 3)
    assert.equal((await messages(phone.bare)).length, 0)
  })

  for (const [answer, event, words, sent] of [
    ['sent_then_failure', 'sms_failed', /unclear: answered 500 ERROR_SYSTEM_FAILURE/, 1],
    ['system_failure', 'sms_failed', /unclear: answered 500/, 0],
    ['garbage', 'sms_failed', /unclear: an answer without a list/, 0],
    ['hang', 'sms_failed', /unclear: no answer in time/, 0],
    ['invalid_number', 'sms_failed', /number: the number was refused/, 0],
    ['no_credit', 'sms_needs_operator', /credit: answered 400 ERROR_NOT_ENOUGH_CREDIT/, 0],
    ['wrong_credentials', 'sms_needs_operator', /credentials: answered 401/, 0],
    ['unknown_sender', 'sms_needs_operator', /refused: answered 400/, 0],
  ]) {
    test(`that answers "${answer}" is not called again, and the log says why`, async () => {
      const phone = await sendCode(worker, [answer, 'sent'])
      const end = await outcome(worker, phone.bare)
      assert.deepEqual([end.level, end.event], ['error', event])
      assert.match(end.what, words)
      await sleep(1_200)
      assert.equal((await calls(phone.bare)).length, 1)
      assert.equal((await messages(phone.bare)).length, sent)
    })
  }

  test('leaves no number, no code and no key in the Worker\'s log', async () => {
    const phone = await sendCode(worker)
    const sms = await awaitSms(phone.bare)
    await outcome(worker, phone.bare)
    const log = worker.log()
    for (const secret of [phone.bare.slice(2), sms.code, ACCOUNT.THAIBULKSMS_SECRET, sms.text]) {
      assert.ok(!log.includes(secret), 'the log holds what it must not')
    }
  })
})

test('a wrong key is refused by the provider and logged for operators', async () => {
  const worker = await startWorker('sms-worker-wrong-key', { ...ACCOUNT, THAIBULKSMS_SECRET: 'not-the-secret' })
  try {
    const phone = await sendCode(worker)
    const end = await outcome(worker, phone.bare)
    assert.equal(end.event, 'sms_needs_operator')
    assert.equal((await messages(phone.bare)).length, 0)
    assert.ok(!worker.log().includes('not-the-secret'))
    const metrics = await fetch(`${worker.url}/metrics`, { headers: { authorization: `Bearer ${env.METRICS_TOKEN}` } })
    assert.match(await metrics.text(), /carbon_sms_failed_total\{reason="credentials"\} 1\n/)
  } finally {
    await worker.stop()
  }
})
