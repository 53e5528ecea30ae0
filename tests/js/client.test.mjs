// The typed client that an app developer would use: its types come from edge/openapi.yaml when the tests run.
// @ts-check
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { createApiClient } from './client.mjs'

const folder = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')

/** @param {string} program @param {string[]} args */
function run(program, args) {
  try {
    return execFileSync(process.execPath, [path.join(folder, 'node_modules', program), ...args], { cwd: folder, encoding: 'utf8' })
  } catch (error) {
    const { stdout, stderr } = /** @type {{stdout: string, stderr: string}} */ (error)
    return assert.fail(`${program}: ${stdout}${stderr}`)
  }
}

test('types are generated from the API description, and this file and the client compile with them', { timeout: 120_000 }, () => {
  run('openapi-typescript/bin/cli.js', ['../edge/openapi.yaml', '--output', '.types/api.d.ts'])
  run('typescript/bin/tsc', ['--project', 'tsconfig.json'])
})

test('a user signs in anonymously, logs, lists and deletes through the typed client', async () => {
  const { env } = await import('./lib.mjs')
  const apiUrl = env.API_URL ?? assert.fail('API_URL is set')
  const visitor = createApiClient(apiUrl)
  const device_info = { device_id: 'typed-client', platform: /** @type {const} */ ('web') }
  const session = await visitor.POST('/auth/anonymous', { body: { device_info } })
  assert.ok(session.data, JSON.stringify(session.error))
  assert.equal(session.data.data.user.is_anonymous, true)

  const client = createApiClient(apiUrl, { token: session.data.data.access_token, language: 'en' })
  const created = await client.POST('/waste/entries', {
    body: { category_id: 'food_waste', disposal_method: 'composted', weight_kg: 1.5 },
  })
  assert.equal(created.response.status, 201)
  assert.ok(created.data && 'carbon_credits' in created.data.data, JSON.stringify(created.error))
  const entry = created.data.data
  assert.equal(entry.category_name, 'Food Waste')
  assert.equal(entry.carbon_credits, 33)
  assert.deepEqual(entry.achievements_unlocked.map(({ name }) => name).sort(), ['Compost Master', 'First Step'])
  assert.deepEqual(entry.challenges_completed.map(({ title }) => title), ['Daily Composter'])

  const achievements = await client.GET('/gamification/achievements')
  const own = achievements.data?.data
  assert.ok(own && 'unlocked_count' in own, 'with a token the answer has the person\'s progress')
  assert.equal(own.unlocked_count, 2)
  const toVisitors = await visitor.GET('/gamification/achievements')
  assert.ok(toVisitors.data && !('unlocked_count' in toVisitors.data.data))

  const listed = await client.GET('/waste/entries', { params: { query: { page: 1, limit: 5 } } })
  assert.deepEqual(listed.data?.data.entries.map(({ id }) => id), [entry.id])
  assert.equal(listed.data?.meta.total, 1)

  const where = { params: { path: { id: entry.id } } }
  const deleted = await client.DELETE('/waste/entries/{id}', where)
  assert.equal(deleted.data?.data.deleted, true)
  const again = await client.DELETE('/waste/entries/{id}', where)
  assert.equal(again.response.status, 404)
  assert.equal(again.error?.error.code, 'NOT_FOUND')
})

test('through the typed client a write is repeated safely and a read is not sent twice', async () => {
  const { env, signInAnonymously, uuid } = await import('./lib.mjs')
  const client = createApiClient(env.API_URL ?? '', { token: (await signInAnonymously()).token })
  const header = { 'Idempotency-Key': uuid() }
  const body = /** @type {const} */ ({ category_id: 'food_waste', disposal_method: 'composted', weight_kg: 1 })
  const first = await client.POST('/waste/entries', { params: { header }, body })
  const again = await client.POST('/waste/entries', { params: { header }, body })
  assert.deepEqual(again.data, first.data)
  assert.equal(again.response.headers.get('idempotent-replayed'), 'true')

  const profile = await client.GET('/user/profile')
  const tag = profile.response.headers.get('etag') ?? assert.fail('a tag is there')
  const notModified = await client.GET('/user/profile', { params: { header: { 'If-None-Match': tag } } })
  assert.equal(notModified.response.status, 304)
})

test('through the typed client people are asked by one name alone', async () => {
  const { env, signInByPhone } = await import('./lib.mjs')
  const [one, other] = await Promise.all([signInByPhone(), signInByPhone()])
  const client = createApiClient(env.API_URL ?? '', { token: one.token })
  const asked = await client.POST('/social/friends/request', { body: { user_id: other.id } })
  assert.equal(asked.data?.data.status, 'pending')
  assert.equal(asked.data?.data.user.id, other.id)
  const listed = await client.GET('/social/friends', { params: { query: { status: 'outgoing' } } })
  assert.deepEqual(listed.data?.data.friends.map(({ user }) => user.id), [other.id])
  const both = await client.POST('/social/friends/request', { body: /** @type {any} */ ({ user_id: other.id, username: 'som.chai' }) })
  assert.equal(both.error?.error.code, 'VALIDATION_ERROR')
})

test('the types know which method belongs to which category', async () => {
  const { env } = await import('./lib.mjs')
  const visitor = createApiClient(env.API_URL ?? '')
  const refused = await visitor.POST('/waste/entries', {
    // @ts-expect-error plastic bags cannot be composted
    body: { category_id: 'plastic_bags', disposal_method: 'composted', weight_kg: 1 },
  })
  assert.equal(refused.error?.error.code, 'AUTH_REQUIRED')
})

test('a user signs in by a provider, links another one and removes it through the typed client', async () => {
  const { env } = await import('./lib.mjs')
  const { tokenProof } = await import('./social-fixtures.mjs')
  const apiUrl = env.API_URL ?? assert.fail('API_URL is set')
  const device_info = { device_id: 'typed-client', platform: /** @type {const} */ ('web') }
  const session = await createApiClient(apiUrl).POST('/auth/social/{provider}', {
    params: { path: { provider: 'google' } }, body: { ...await tokenProof('google'), device_info },
  })
  assert.ok(session.data, JSON.stringify(session.error))

  const client = createApiClient(apiUrl, { token: session.data.data.access_token, language: 'en' })
  const path = { provider: /** @type {const} */ ('facebook') }
  const linked = await client.POST('/auth/social/{provider}', { params: { path }, body: { ...await tokenProof('facebook'), link: true, device_info } })
  assert.equal(linked.data?.data.user.id, session.data.data.user.id)
  const own = await client.GET('/auth/identities')
  assert.deepEqual(own.data?.data.identities.map(({ provider }) => provider), ['google', 'facebook'])
  const left = await client.DELETE('/auth/identities/{provider}', { params: { path } })
  assert.deepEqual(left.data?.data.identities.map(({ provider }) => provider), ['google'])
  const last = await client.DELETE('/auth/identities/{provider}', { params: { path: { provider: 'google' } } })
  assert.equal(last.response.status, 409)
})
