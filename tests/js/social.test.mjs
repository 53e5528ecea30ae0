// Sign-in by LINE, Facebook, Google and Apple, against local issuers with real keys.
import { after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { api, bangkokInstant, closeSql, deviceInfo, differences, env, invalidField, ok, refused, serviceClient, signInAnonymously, signInByPhone, sql, supabase, uuid } from './lib.mjs'
import { call, server, startWorker } from './limits-fixtures.mjs'
import { PROVIDERS, WAYS, admin, appleProof, claimOnly, issuer, newNonce, newSubject, proofOf, signInBy, social, socialSettings, tokenProof } from './social-fixtures.mjs'

const profileOf = async id => (await sql('select is_anonymous, phone_number, display_name from public.profiles where id = $1', [id]))[0]
const identitiesOf = async id => (await sql('select provider, subject from private.identities where user_id = $1 order by provider', [id])).map(row => row.provider)
const link = (person, provider, proof) => social(provider, proof, { token: person.token, link: true })
const service = serviceClient()
after(closeSql)

describe('signing in by a provider', () => {
  for (const [way, [provider, proof]] of Object.entries(WAYS)) {
    test(`${way}: the first time makes an account, the second one finds it`, async () => {
      const subject = newSubject()
      const first = ok(await social(provider, await proof(subject)))
      assert.deepEqual([first.user.is_new_user, first.user.phone_number, first.expires_in], [true, null, 3600])
      assert.equal((await profileOf(first.user.id)).is_anonymous, false)
      const device_info = deviceInfo()
      const second = ok(await social(provider, await proof(subject), { device_info }))
      assert.deepEqual([second.user.id, second.user.is_new_user], [first.user.id, false])
      assert.notEqual(ok(await social(provider, await proof(newSubject()))).user.id, first.user.id, 'another subject is somebody else')
      assert.deepEqual(await identitiesOf(first.user.id), [provider])
      assert.equal(ok(await api('GET', '/user/profile', { token: second.access_token })).id, first.user.id)
      assert.equal(ok(await api('POST', '/auth/refresh', { body: { refresh_token: second.refresh_token } })).expires_in, 3600)
    })
  }

  for (const provider of PROVIDERS) {
    test(`twins at once are one account: ${provider}`, async () => {
      const subject = newSubject()
      const proofs = await Promise.all(Array.from({ length: 4 }, () => proofOf[provider](subject)))
      const sessions = (await Promise.all(proofs.map(proof => social(provider, proof)))).map(answer => ok(answer))
      assert.equal(new Set(sessions.map(({ user }) => user.id)).size, 1)
      const [{ accounts }] = await sql('select count(*)::int as accounts from private.identities where provider = $1 and subject = $2', [provider, subject])
      assert.equal(accounts, 1)
    })
  }

  test('the same subject at two providers is two people', async () => {
    const subject = newSubject()
    const ids = await Promise.all(PROVIDERS.map(async provider => (await signInBy(provider, subject)).id))
    assert.equal(new Set(ids).size, PROVIDERS.length)
  })

  test('a name that the provider states is taken over once, if it may be a name', async () => {
    const subject = newSubject()
    const named = async name => ok(await social('google', await tokenProof('google', subject, { name }))).user.id
    const id = await named(' สมชาย ใจดี ')
    assert.equal((await profileOf(id)).display_name, 'สมชาย ใจดี')
    await named('Another')
    assert.equal((await profileOf(id)).display_name, 'สมชาย ใจดี')
    const odd = ok(await social('google', await tokenProof('google', newSubject(), { name: '\u3164' })))
    assert.equal((await profileOf(odd.user.id)).display_name, null)
    const apple = ok(await social('apple', { ...await appleProof(), name: 'Som' }))
    assert.equal((await profileOf(apple.user.id)).display_name, 'Som')
  })

  test('an e-mail address links nobody to anybody', async () => {
    const email = `${newSubject()}@example.com`
    const by = async provider => ok(await social(provider, await tokenProof(provider, newSubject(), { email, email_verified: true }))).user.id
    assert.notEqual(await by('google'), await by('google'))
  })

  test('Apple states booleans as text at times, and its refresh token is stored encrypted', async () => {
    const subject = newSubject()
    const proof = await appleProof(subject, { email_verified: 'true', is_private_email: 'true', email: 'x@privaterelay.appleid.com' })
    ok(await social('apple', proof))
    const [{ refresh_token }] = await sql(`select refresh_token from private.identities where provider = 'apple' and subject = $1`, [subject])
    assert.ok(refresh_token.length > 40 && !refresh_token.includes('local-'))
    ok(await social('apple', await tokenProof('apple', subject)), 200)
    const [later] = await sql(`select refresh_token from private.identities where provider = 'apple' and subject = $1`, [subject])
    assert.equal(later.refresh_token, refresh_token, 'a sign-in without a code leaves it')
  })

  test('a client of another platform has an audience of its own', async () => {
    const [, android] = env.GOOGLE_CLIENT_IDS.split(',')
    const [, web] = env.APPLE_CLIENT_IDS.split(',')
    ok(await social('google', await tokenProof('google', newSubject(), { aud: android, azp: 'x' })))
    ok(await social('google', await tokenProof('google', newSubject(), { iss: 'accounts.google.com' })))
    ok(await social('apple', await appleProof(newSubject(), { aud: web })))
  })

  test('a provider that does not exist is no path, and each member is checked', async () => {
    refused(await social('twitter', {}), 404, 'NOT_FOUND')
    const { id_token } = await tokenProof('google')
    invalidField(await social('google', {}), 'id_token')
    invalidField(await social('google', { id_token }), 'nonce')
    invalidField(await social('google', { id_token, nonce: 'short' }), 'nonce')
    invalidField(await social('google', { id_token, nonce: 'x'.repeat(20), link: 'yes' }), 'link')
    invalidField(await api('POST', '/auth/social/google', { body: { id_token, nonce: 'x'.repeat(20) } }), 'device_info')
    const proof = { code: 'c', code_verifier: 'v'.repeat(43), nonce: 'x'.repeat(20) }
    invalidField(await social('line', proof), 'redirect_uri')
    invalidField(await social('line', { ...proof, redirect_uri: 'https://evil.example/' }), 'redirect_uri')
    invalidField(await social('line', { ...proof, redirect_uri: env.LINE_REDIRECT_URIS, code_verifier: 'v' }), 'code_verifier')
    refused(await social('google', { id_token, nonce: newNonce().nonce }, { token: 'rubbish' }), 401, 'AUTH_INVALID')
  })
})

describe('a sign-in that was killed between two steps', () => {
  for (const provider of PROVIDERS) {
    test(`after the claim: the next one completes it (${provider})`, async () => {
      const subject = newSubject()
      const { user_id, exists } = await claimOnly(service, provider, subject)
      assert.equal(exists, false)
      const person = await signInBy(provider, subject)
      assert.equal(person.id, user_id)
      assert.equal((await profileOf(user_id)).is_anonymous, false)
    })
  }

  test('after Auth has the user: the next one finds it', async () => {
    const subject = newSubject()
    const { user_id } = await claimOnly(service, 'google', subject)
    await admin('POST', '/users', { id: user_id, email: `${user_id.replaceAll('-', '')}@id.invalid`, email_confirm: true })
    assert.equal((await signInBy('google', subject)).id, user_id)
  })

  test('after the link was made: the next one makes another', async () => {
    const subject = newSubject()
    const { id } = await signInBy('line', subject)
    await admin('POST', '/generate_link', { type: 'magiclink', email: `${id.replaceAll('-', '')}@id.invalid` })
    assert.equal((await signInBy('line', subject)).id, id)
  })

  test('of an anonymous user: the next one ends the anonymity, also without their token', async () => {
    const [subject, person] = [newSubject(), await signInAnonymously()]
    await claimOnly(service, 'google', subject, person.id)
    assert.equal((await profileOf(person.id)).is_anonymous, true)
    assert.equal((await signInBy('google', subject)).id, person.id)
    assert.equal((await profileOf(person.id)).is_anonymous, false)
  })
})

describe('an anonymous user', () => {
  for (const provider of PROVIDERS) {
    test(`keeps id and diary with their first identity: ${provider}`, async () => {
      const [subject, person] = [newSubject(), await signInAnonymously()]
      ok(await person.api('POST', '/waste/entries', { body: { category_id: 'food_waste', disposal_method: 'composted', weight_kg: 1, logged_at: bangkokInstant(0) } }), 201)
      const now = await signInBy(provider, subject, { token: person.token })
      assert.equal(now.id, person.id)
      assert.deepEqual(await profileOf(person.id), { is_anonymous: false, phone_number: null, display_name: null })
      assert.equal(ok(await now.api('GET', '/waste/entries')).entries.length, 1)
      assert.equal(ok(await now.api('GET', '/user/profile')).is_anonymous, false)
      assert.equal((await signInBy(provider, subject)).id, person.id)
      assert.deepEqual(await differences(person), [])
      assert.equal(ok(await person.api('GET', '/auth/identities')).is_anonymous, false, 'the token of before is not believed')
    })
  }

  test('whose identity has an account brings the diary into that account, once', async () => {
    const [subject, person] = [newSubject(), await signInAnonymously()]
    const holder = await signInBy('google', subject)
    ok(await person.api('POST', '/waste/entries', { body: { category_id: 'food_waste', disposal_method: 'composted', weight_kg: 1, logged_at: bangkokInstant(0) } }), 201)
    const session = ok(await social('google', await proofOf.google(subject), { token: person.token }))
    assert.deepEqual([session.user.id, session.merged], [holder.id, { entries: 1, duplicates: 0, is_complete: true }])
    assert.equal(ok(await api('GET', '/waste/entries', { token: session.access_token })).entries.length, 1)
    refused(await person.api('GET', '/user/profile'), 401, 'AUTH_INVALID')
    assert.equal(ok(await social('google', await proofOf.google(subject))).merged, undefined)
    assert.deepEqual(await differences(holder), [])
  })

  test('whose session has ended links nothing', async () => {
    const [subject, person] = [newSubject(), await signInAnonymously()]
    ok(await person.api('POST', '/auth/logout'))
    const proof = await tokenProof('google', subject)
    refused(await social('google', proof, { token: person.token }), 401, 'AUTH_INVALID')
    assert.equal((await profileOf(person.id)).is_anonymous, true)
    ok(await social('google', proof), 200)
  })
})

describe('linking', () => {
  test('lets a person with a number in by the identity, and shows how they can sign in', async () => {
    const [subject, person] = [newSubject(), await signInByPhone()]
    const linked = ok(await link(person, 'google', await proofOf.google(subject)))
    assert.deepEqual([linked.user.id, linked.user.phone_number], [person.id, person.phone.e164])
    assert.equal((await signInBy('google', subject)).id, person.id)
    const own = ok(await person.api('GET', '/auth/identities'))
    assert.deepEqual([own.phone_number, own.is_anonymous, own.identities.map(one => one.provider)], [person.phone.e164, false, ['google']])
    assert.ok(Date.parse(own.identities[0].last_sign_in_at) >= Date.parse(own.identities[0].created_at))
    assert.ok(!JSON.stringify(own).includes(subject))
    ok(await link(person, 'google', await proofOf.google(subject)), 200)
  })

  test('takes an identity from nobody', async () => {
    const [subject, person] = [newSubject(), await signInByPhone()]
    const holder = await signInBy('line', subject)
    const answer = refused(await link(person, 'line', await proofOf.line(subject)), 409, 'CONFLICT')
    assert.equal(answer.details.fields[0].code, 'identity_taken')
    const anonymous = await signInAnonymously()
    refused(await link(anonymous, 'line', await proofOf.line(subject)), 409, 'CONFLICT')
    assert.equal((await signInBy('line', subject)).id, holder.id)
    assert.deepEqual(ok(await person.api('GET', '/auth/identities')).identities, [])
  })

  test('takes one identity of each provider', async () => {
    const person = await signInBy('google', newSubject())
    const answer = refused(await link(person, 'google', await proofOf.google(newSubject())), 409, 'CONFLICT')
    assert.equal(answer.details.fields[0].code, 'provider_linked')
    ok(await link(person, 'facebook', await proofOf.facebook(newSubject())))
  })

  test('needs a signed-in person', async () => {
    refused(await social('google', await tokenProof('google'), { link: true }), 401, 'AUTH_REQUIRED')
  })

  test('of one identity by two people at once goes to one of them', async () => {
    const [subject, ...people] = [newSubject(), await signInByPhone(), await signInByPhone()]
    const proofs = await Promise.all(people.map(() => proofOf.google(subject)))
    const answers = await Promise.all(people.map((person, at) => link(person, 'google', proofs[at])))
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 409])
  })

  test('without it a signed-in person\'s token changes nothing: the identity\'s own account answers', async () => {
    const [subject, person] = [newSubject(), await signInByPhone()]
    assert.notEqual((await signInBy('google', subject, { token: person.token })).id, person.id)
    assert.deepEqual(ok(await person.api('GET', '/auth/identities')).identities, [])
  })
})

describe('unlinking', () => {
  const unlink = (person, provider) => person.api('DELETE', `/auth/identities/${provider}`)

  test('removes a way in, and the subject is free again', async () => {
    const [subject, person] = [newSubject(), await signInByPhone()]
    ok(await link(person, 'facebook', await proofOf.facebook(subject)))
    assert.deepEqual(ok(await unlink(person, 'facebook')).identities, [])
    refused(await unlink(person, 'facebook'), 404, 'NOT_FOUND')
    refused(await unlink(person, 'twitter'), 404, 'NOT_FOUND')
    assert.notEqual((await signInBy('facebook', subject)).id, person.id)
  })

  test('the last way in stays', async () => {
    const person = await signInBy('google', newSubject())
    const answer = refused(await unlink(person, 'google'), 409, 'CONFLICT')
    assert.equal(answer.details.fields[0].code, 'last_identity')
    ok(await link(person, 'line', await proofOf.line(newSubject())))
    ok(await unlink(person, 'google'))
    refused(await unlink(person, 'line'), 409, 'CONFLICT')
  })

  test('of two removals at once one is refused', async () => {
    for (let round = 0; round < 5; round++) {
      const person = await signInBy('google', newSubject())
      ok(await link(person, 'line', await proofOf.line(newSubject())))
      const answers = await Promise.all(['google', 'line'].map(provider => unlink(person, provider)))
      assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 409])
      assert.equal((await identitiesOf(person.id)).length, 1)
    }
  })

  test('Apple\'s refresh token is revoked first', async () => {
    const valid = async () => (await issuer('GET', 'apple/revoke')).valid_refresh_tokens
    const person = await signInByPhone()
    const before = await valid()
    ok(await link(person, 'apple', await appleProof()))
    assert.equal(await valid(), before + 1)
    ok(await unlink(person, 'apple'))
    assert.equal(await valid(), before)
    ok(await link(person, 'apple', await tokenProof('apple')))
    ok(await unlink(person, 'apple'), 200)
  })

  test('is no rpc of a client', async () => {
    const person = await signInBy('google', newSubject())
    for (const [name, body] of [['unlink_identity', { p_user_id: person.id, p_provider: 'google' }], ['claim_identity', { p_provider: 'line', p_subject: 'x' }]]) {
      const { error } = await supabase(person).rpc(name, body)
      assert.equal(error.code, '42501', name)
    }
    const { data } = await supabase(person).rpc('list_identities')
    assert.deepEqual(data.identities.map(one => one.provider), ['google'])
  })
})

describe('a deleted account', () => {
  for (const [how, body] of [['for good', {}], ['softly', { should_soft_delete: true }]]) {
    test(`${how}: its identity is free, and signs in to a new account`, async () => {
      const subject = newSubject()
      const person = await signInBy('google', subject)
      await admin('DELETE', `/users/${person.id}`, body)
      assert.deepEqual(await identitiesOf(person.id), [])
      const again = await signInBy('google', subject)
      assert.notEqual(again.id, person.id)
      assert.equal(again.session.user.is_new_user, true)
    })
  }

  test('a banned one is refused', async () => {
    const subject = newSubject()
    const person = await signInBy('google', subject)
    await admin('PUT', `/users/${person.id}`, { ban_duration: '1h' })
    refused(await social('google', await proofOf.google(subject)), 403, 'PERMISSION_DENIED')
  })
})

describe('a Worker of its own', () => {
  const workers = []
  const start = async settings => { workers.push(await startWorker(settings)); return workers.at(-1).base }
  const post = (base, provider, proof, token) => call('POST', `/auth/social/${provider}`, { base, token, body: { device_info: deviceInfo(), ...proof } })
  after(() => Promise.all(workers.map(worker => worker.stop())))

  test('without a provider\'s settings offers none of it', async () => {
    const base = await start({})
    for (const provider of PROVIDERS) refused(await post(base, provider, await proofOf[provider]()), 501, 'FEATURE_UNAVAILABLE')
  })

  test('says so while a provider is down, and the proof stays good', async () => {
    const base = await start({ ...socialSettings(), PROVIDERS_URL: 'http://127.0.0.1:9' })
    for (const [way, [provider, proof]] of Object.entries(WAYS)) {
      const sent = await proof()
      const answer = await post(base, provider, sent)
      refused(answer, 503, 'SERVICE_UNAVAILABLE')
      assert.ok(Number(answer.headers.get('retry-after')) >= 1, way)
      ok(await social(provider, sent), 200)
    }
    const person = await signInByPhone()
    ok(await link(person, 'apple', await appleProof()))
    refused(await call('DELETE', '/auth/identities/apple', { base, token: person.token }), 503, 'SERVICE_UNAVAILABLE')
    assert.deepEqual(await identitiesOf(person.id), ['apple'], 'what cannot be revoked is not removed')
    const log = workers.at(-1).log()
    assert.ok(!log.includes('eyJ') && !log.includes('local-facebook-app|'), 'the log has no token')
  })

  test('takes a token again whose sign-in failed because something of ours was down', async () => {
    let isDown = true
    const origin = await server((_, { url }) => {
      if (url.startsWith('/rest/v1/rpc/claim_identity')) return isDown ? [503, {}] : [200, { user_id: uuid(), exists: true, address: 'a@id.invalid', has_name: true }]
      if (url.startsWith('/auth/v1/admin/generate_link')) return [200, { hashed_token: 'h', verification_type: 'magiclink' }]
      if (url.startsWith('/auth/v1/verify')) return [200, { access_token: 'a', refresh_token: 'r', expires_in: 3600, user: { id: uuid() } }]
      return [200, { user: { id: uuid(), phone_number: null, is_new_user: true, onboarding_completed: false } }]
    })
    const base = await start({ ...socialSettings(), SUPABASE_URL: origin.url })
    const proof = await tokenProof('google')
    refused(await post(base, 'google', proof), 503, 'SERVICE_UNAVAILABLE')
    isDown = false
    ok(await post(base, 'google', proof))
    refused(await post(base, 'google', proof), 401, 'AUTH_INVALID')
    await origin.stop()
  })
})
