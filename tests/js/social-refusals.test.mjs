// Proofs that prove nothing: forged, old, meant for others, used already. Each is refused, and leaves no account behind.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { closeSql, env, ok, refused, sql } from './lib.mjs'
import { PROVIDERS, accessProof, appleProof, forge, idToken, issuer, lineCodeProof, newNonce, newSubject, now, openToken, social, tokenProof } from './social-fixtures.mjs'

after(closeSql)

/** Refused as a wrong proof, and nobody has the subject. */
async function assertRefused(answer, subject, code = 'AUTH_INVALID') {
  refused(answer, 401, code)
  assert.deepEqual(await sql('select 1 from private.identities where subject = $1', [subject]), [])
}

const keysOf = async provider => (await issuer('GET', `${provider}/keys`)).keys
const rsa = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' })
const signWith = { RS256: text => crypto.sign('sha256', text, rsa.privateKey), ES256: text => crypto.sign('sha256', text, { key: ec.privateKey, dsaEncoding: 'ieee-p1363' }) }
const hmac = key => text => crypto.createHmac('sha256', key).update(text).digest('base64url')

for (const provider of PROVIDERS) {
  describe(`an ID token for ${provider}`, () => {
    let genuine, subject, nonce
    before(async () => {
      subject = newSubject()
      const proof = await tokenProof(provider, subject)
      nonce = proof.nonce
      genuine = openToken(proof.id_token)
    })
    const send = id_token => social(provider, { id_token, nonce })
    const changed = async claims => send(await idToken(provider, { ...genuine.claims, ...claims }))

    test('that somebody else signed with the right key id is refused', async () => {
      const { alg } = genuine.header
      await assertRefused(await send(forge(genuine.header, genuine.claims, text => signWith[alg](text).toString('base64url'))), subject)
    })

    test('whose claims were changed after it was signed is refused', async () => {
      const [header, , signature] = (await idToken(provider, genuine.claims)).split('.')
      const claims = Buffer.from(JSON.stringify({ ...genuine.claims, name: 'x' })).toString('base64url')
      await assertRefused(await send(`${header}.${claims}.${signature}`), subject)
    })

    test('with alg:none is refused', async () => {
      for (const alg of ['none', 'None', '']) await assertRefused(await send(forge({ ...genuine.header, alg }, genuine.claims, () => '')), subject)
    })

    test('signed by HS256 with the public key is refused', async () => {
      const [key] = await keysOf(provider)
      const object = crypto.createPublicKey({ key, format: 'jwk' })
      for (const secret of [object.export({ type: 'spki', format: 'pem' }), object.export({ type: 'spki', format: 'der' }), JSON.stringify(key), key.n ?? key.x]) {
        await assertRefused(await send(forge({ ...genuine.header, alg: 'HS256' }, genuine.claims, hmac(secret))), subject)
      }
    })

    test('with the id of another key, or without one, is refused', async () => {
      const { alg } = genuine.header
      const sign = text => signWith[alg](text).toString('base64url')
      await assertRefused(await send(forge({ ...genuine.header, kid: 'another' }, genuine.claims, sign)), subject)
      await assertRefused(await send(await idToken(provider, genuine.claims, { kid: 'another' })), subject)
      await assertRefused(await send(await idToken(provider, genuine.claims, { kid: null })), subject)
    })

    test('whose header names an algorithm that its key is not made for is refused', async () => {
      const other = genuine.header.alg === 'RS256' ? 'ES256' : 'RS256'
      await assertRefused(await send(forge({ ...genuine.header, alg: other }, genuine.claims, text => signWith[other](text).toString('base64url'))), subject)
      await assertRefused(await send(await idToken(provider, genuine.claims, { alg: 'RS512' })), subject)
    })

    test('that demands extensions of its reader is refused', async () => {
      await assertRefused(await send(await idToken(provider, genuine.claims, { crit: ['b64'], b64: false })), subject)
    })

    test('past its end, or ten minutes old, is expired', async () => {
      await assertRefused(await changed({ exp: now() - 6 }), subject, 'AUTH_EXPIRED')
      await assertRefused(await changed({ iat: now() - 610 }), subject, 'AUTH_EXPIRED')
    })

    test('of a clock that is ahead is refused', async () => {
      await assertRefused(await changed({ iat: now() + 20 }), subject)
      await assertRefused(await changed({ nbf: now() + 20 }), subject)
    })

    test('for another client is refused', async () => {
      for (const aud of ['another', [genuine.claims.aud, 'another'], [], null]) await assertRefused(await changed({ aud }), subject)
    })

    test('of another issuer is refused', async () => {
      for (const iss of ['https://evil.example', `${genuine.claims.iss}/`, null]) await assertRefused(await changed({ iss }), subject)
      const other = PROVIDERS.find(one => one !== provider)
      await assertRefused(await send(await idToken(other, { sub: subject, nonce: genuine.claims.nonce })), subject)
    })

    test('with another nonce, with the nonce itself, or without one is refused', async () => {
      for (const stated of [newNonce().hashed, nonce, '', null]) await assertRefused(await changed({ nonce: stated }), subject)
    })

    test('without a subject is refused', async () => {
      for (const sub of ['', ' ', 'ก', 'x'.repeat(256), null]) refused(await changed({ sub }), 401, 'AUTH_INVALID')
    })

    test('that is none at all is refused', async () => {
      for (const text of ['x', 'a.b.c', '..', 'x'.repeat(9_000)]) await assertRefused(await send(text), subject)
    })

    test('counts once, also at the same time', async () => {
      const proof = await tokenProof(provider)
      const answers = await Promise.all(Array.from({ length: 3 }, () => social(provider, proof)))
      assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 401, 401])
      refused(await social(provider, proof), 401, 'AUTH_INVALID')
    })
  })
}

test('an ES256 signature in its second form makes no second token', async () => {
  const order = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
  const proof = await tokenProof('line')
  const [header, claims, signature] = proof.id_token.split('.')
  const bytes = Buffer.from(signature, 'base64url')
  const flipped = (order - BigInt(`0x${bytes.subarray(32).toString('hex')}`)).toString(16).padStart(64, '0')
  const twin = Buffer.concat([bytes.subarray(0, 32), Buffer.from(flipped, 'hex')]).toString('base64url')
  ok(await social('line', proof))
  refused(await social('line', { ...proof, id_token: `${header}.${claims}.${twin}` }), 401, 'AUTH_INVALID')
})

describe('LINE', () => {
  test('a client\'s token signed with the channel\'s secret is refused: that is how codes are answered', async () => {
    const [subject, { nonce, hashed }] = [newSubject(), newNonce()]
    const claims = { iss: 'https://access.line.me', aud: env.LINE_CHANNEL_ID, sub: subject, iat: now(), exp: now() + 600, nonce: hashed }
    await assertRefused(await social('line', { id_token: forge({ alg: 'HS256', typ: 'JWT' }, claims, hmac(env.LINE_CHANNEL_SECRET)), nonce }), subject)
  })

  test('a code counts once, for its own page, verifier and nonce', async () => {
    const subject = newSubject()
    const used = await lineCodeProof()
    ok(await social('line', used))
    refused(await social('line', used), 401, 'AUTH_INVALID')
    await assertRefused(await social('line', { ...await lineCodeProof(subject), code_verifier: 'v'.repeat(43) }), subject)
    await assertRefused(await social('line', { ...await lineCodeProof(subject), nonce: newNonce().nonce }), subject)
    await assertRefused(await social('line', await lineCodeProof(subject, { aud: 'another' })), subject)
    await assertRefused(await social('line', { ...await lineCodeProof(subject), code: 'unknown' }), subject)
    await assertRefused(await social('line', { ...await lineCodeProof(subject), code: 'x'.repeat(5_000) }), subject)
  })
})

describe('Facebook', () => {
  test('an access token of another app, of a page, past its end or withdrawn is refused', async () => {
    for (const changes of [{ app_id: 'another' }, { type: 'PAGE' }, { is_valid: false }, { expires_at: now() - 1 }, { expires_at: null }]) {
      const subject = newSubject()
      await assertRefused(await social('facebook', await accessProof(subject, changes)), subject)
    }
  })

  test('an access token that debug_token refuses is refused', async () => {
    for (const access_token of ['unknown', 'a&b=c', 'x'.repeat(5_000)]) refused(await social('facebook', { access_token }), 401, 'AUTH_INVALID')
  })

  test('an access token may come again while it is valid', async () => {
    const proof = await accessProof()
    const first = ok(await social('facebook', proof))
    assert.equal(ok(await social('facebook', proof)).user.id, first.user.id)
  })
})

describe('Apple', () => {
  test('a code of somebody else, or one that was used, is refused', async () => {
    const subject = newSubject()
    const [own, other] = [await appleProof(subject), await appleProof()]
    await assertRefused(await social('apple', { ...own, authorization_code: other.authorization_code }), subject)
    const used = await appleProof()
    ok(await social('apple', used))
    await assertRefused(await social('apple', { ...await appleProof(subject), authorization_code: used.authorization_code }), subject)
  })
})
