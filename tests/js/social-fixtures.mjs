// What the tests of social sign-in share: proofs as each provider hands them to a client, and forged ones.
import crypto from 'node:crypto'
import assert from 'node:assert/strict'
import { api, deviceInfo, env, ok } from './lib.mjs'

export const PROVIDERS = ['line', 'facebook', 'google', 'apple']

/** The settings of social sign-in for a Worker beside the running one. */
export const socialSettings = () => Object.fromEntries(['PROVIDERS_URL', 'LINE_CHANNEL_ID', 'LINE_CHANNEL_SECRET', 'LINE_REDIRECT_URIS', 'FACEBOOK_APP_ID',
  'FACEBOOK_APP_SECRET', 'GOOGLE_CLIENT_IDS', 'APPLE_CLIENT_IDS', 'APPLE_REDIRECT_URIS', 'APPLE_TEAM_ID', 'APPLE_KEY_ID', 'APPLE_PRIVATE_KEY', 'APPLE_TOKEN_SECRET']
  .map(name => [name, env[name]]))

export const newSubject = () => `U${crypto.randomBytes(16).toString('hex')}`
export const now = () => Math.floor(Date.now() / 1000)
const sha256 = text => crypto.createHash('sha256').update(text)

/** A nonce as a client makes it, and what the provider's token states of it. */
export function newNonce() {
  const nonce = crypto.randomBytes(24).toString('base64url')
  return { nonce, hashed: sha256(nonce).digest('hex') }
}

/** Asks the local issuers. */
export async function issuer(method, path, body) {
  const response = await fetch(`${env.PROVIDERS_URL}/${path}`, { method, ...(body && { body: JSON.stringify(body) }) })
  assert.equal(response.status, 200, `${path} answers ${response.status}`)
  return response.json()
}

/** An ID token that a provider signs; its claims and its header can be any. */
export const idToken = async (provider, claims, header) => (await issuer('POST', `${provider}/id-token`, { claims, header })).id_token

/** A proof by an ID token: `{id_token, nonce}`. */
export async function tokenProof(provider, sub = newSubject(), claims = {}, header = {}) {
  const { nonce, hashed } = newNonce()
  return { id_token: await idToken(provider, { sub, nonce: hashed, ...claims }, header), nonce }
}

/** A proof by LINE's code, as a web page has it. */
export async function lineCodeProof(sub = newSubject(), claims = {}) {
  const { nonce, hashed } = newNonce()
  const code_verifier = crypto.randomBytes(32).toString('base64url')
  const code_challenge = sha256(code_verifier).digest('base64url')
  const redirect_uri = env.LINE_REDIRECT_URIS.split(',')[0]
  const { code } = await issuer('POST', 'line/code', { claims: { sub, nonce: hashed, ...claims }, redirect_uri, code_challenge })
  return { code, redirect_uri, code_verifier, nonce }
}

/** A proof by Facebook's access token, as Android and the web have it. */
export async function accessProof(user_id = newSubject(), changes = {}) {
  return issuer('POST', 'facebook/access-token', { user_id, ...changes })
}

/** A proof by Apple with the code that a refresh token is had for. */
export async function appleProof(sub = newSubject(), claims = {}) {
  const proof = await tokenProof('apple', sub, claims)
  const { code } = await issuer('POST', 'apple/code', { claims: { sub } })
  return { ...proof, authorization_code: code }
}

/** Every way in which a provider proves a person, by its name: [provider, proof of a subject]. */
export const WAYS = {
  'LINE by an ID token': ['line', sub => tokenProof('line', sub)],
  'LINE by a code': ['line', sub => lineCodeProof(sub)],
  'Facebook by an access token': ['facebook', sub => accessProof(sub)],
  'Facebook by an ID token': ['facebook', sub => tokenProof('facebook', sub)],
  Google: ['google', sub => tokenProof('google', sub)],
  Apple: ['apple', sub => appleProof(sub)],
}

/** The way that a provider's clients mostly have. */
export const proofOf = { line: WAYS['LINE by an ID token'][1], facebook: WAYS['Facebook by an access token'][1], google: WAYS.Google[1], apple: WAYS.Apple[1] }

/** Calls the endpoint with a proof. */
export const social = (provider, proof, { token, ...more } = {}) =>
  api('POST', `/auth/social/${provider}`, { token, body: { device_info: deviceInfo(), ...proof, ...more } })

/** Signs in and returns the session with the user's calls. */
export async function signInBy(provider, subject, options) {
  const session = ok(await social(provider, await proofOf[provider](subject), options))
  const call = (method, route, more = {}) => api(method, route, { token: session.access_token, ...more })
  return { id: session.user.id, token: session.access_token, session, api: call }
}

const part = value => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A token of any header and claims, with a signature of the test's own. */
export function forge(header, claims, sign) {
  const text = `${part(header)}.${part(claims)}`
  return `${text}.${sign(text)}`
}

/** The header and the claims that a genuine token has. */
export function openToken(token) {
  const [header, claims] = token.split('.').slice(0, 2).map(text => JSON.parse(Buffer.from(text, 'base64url')))
  return { header, claims }
}

/** A claim made by hand, as a sign-in leaves it that was killed after this step. */
export async function claimOnly(service, provider, subject, userId = null) {
  const { data, error } = await service.rpc('claim_identity', { p_provider: provider, p_subject: subject, p_user_id: userId })
  assert.equal(error, null, JSON.stringify(error))
  return data
}

/** Calls Auth as the service, by the gateway. */
export async function admin(method, path, body) {
  const headers = { apikey: env.SERVICE_ROLE_KEY, authorization: `Bearer ${env.SERVICE_ROLE_KEY}`, 'x-edge-secret': env.EDGE_SECRET, 'content-type': 'application/json' }
  const response = await fetch(`${env.SUPABASE_URL}/auth/v1/admin${path}`, { method, headers, body: body && JSON.stringify(body) })
  assert.ok(response.ok, `${path} answers ${response.status}`)
  return response.json()
}

