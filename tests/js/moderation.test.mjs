// Moderation: the vectors and the same refusal through every interface, and the operators' service with and without an
// answer.
import { after, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { api, closeSql, env, invalidField, ok, ROOT, signInAnonymously, sql, supabase, uuid } from './lib.mjs'
import { server, startWorker, call } from './limits-fixtures.mjs'

after(closeSql)

const vectors = JSON.parse(fs.readFileSync(path.join(ROOT, 'domain/vectors/moderation.json'), 'utf8'))

describe('a text that others see', () => {
  test('is shown or refused as the vectors say, by the edge and by REST with one error', async () => {
    const someone = await signInAnonymously()
    // Names are normalised before the check: hidden characters have their own rule there.
    const words = vectors.filter(({ expected, input }) => expected.error !== 'carbon.text_has_hidden_characters' && !input.text.includes('\n'))
    assert.ok(words.length > 30)
    for (const { name, input, expected } of words) {
      const byEdge = await api('PUT', '/user/profile', { token: someone.token, body: { display_name: input.text }, lang: 'th' })
      const byRest = await supabase(someone).from('profiles').update({ display_name: input.text }).eq('id', someone.id)
      if (expected === 'shown') {
        assert.equal(ok(byEdge).display_name, input.text.normalize('NFC'), name)
        assert.equal(byRest.error, null, name)
      } else {
        const problem = invalidField(byEdge, 'display_name')
        assert.equal(problem.code, 'text_not_allowed', name)
        assert.equal(byRest.error.details, expected.error, name)
        assert.match(byRest.error.message, /^display_name: /)
        assert.equal(problem.message, byRest.error.hint, name)
      }
    }
  })

  test('gets through the word filter as Nigeria and viable, and a zero-width joiner does not get through', async () => {
    const someone = await signInAnonymously()
    const rename = display_name => api('PUT', '/user/profile', { token: someone.token, body: { display_name } })
    for (const name of ['Nigeria', 'viable']) assert.equal(ok(await rename(name)).display_name, name)
    assert.equal(invalidField(await rename('sh\u200dit'), 'display_name').code, 'text_not_allowed')
  })

  test('is checked in a user name by every interface', async () => {
    const someone = await signInAnonymously()
    const username = 'big_bitch'
    assert.equal(invalidField(await api('PUT', '/user/profile', { token: someone.token, body: { username } }), 'username').code, 'text_not_allowed')
    const byRpc = await supabase(someone).rpc('update_profile', { changes: { username } })
    assert.deepEqual([byRpc.error.code, byRpc.error.details], ['22023', 'carbon.text_not_allowed'])
  })
})

describe('the operators\' moderation service', () => {
  const withService = async (answer, run) => {
    const service = await server(answer)
    const worker = await startWorker({ NO_LIMITS: 'true', MODERATION_URL: service.url, MODERATION_KEY: 'moderation-key' })
    try {
      const someone = await signInAnonymously()
      const rename = body => call('PUT', '/user/profile', { base: worker.base, token: someone.token, body })
      const queued = async () => (await sql('select field from private.texts_to_review where user_id = $1 order by field', [someone.id])).map(row => row.field)
      await run({ someone, rename, queued, service })
    } finally {
      await worker.stop()
      await service.stop()
    }
  }

  test('refuses a name like the lists do, and sees names alone', async () => {
    let authorization
    await withService((question, request) => { authorization = request.headers.authorization; return [200, { refused: question.texts.filter(({ text }) => text.includes('ไม่ดี')).map(({ field }) => field) }] }, async ({ rename, queued, service }) => {
      assert.equal(invalidField(await rename({ display_name: 'คนไม่ดี', province: 'TH-10' }), 'display_name').code, 'text_not_allowed')
      assert.deepEqual(service.seen.map(({ body }) => body), [{ texts: [{ field: 'display_name', text: 'คนไม่ดี' }] }])
      assert.equal(authorization, 'Bearer moderation-key')
      assert.equal(ok(await rename({ display_name: 'คนดี', username: `u${uuid().slice(0, 8)}` })).display_name, 'คนดี')
      ok(await rename({ province: 'TH-11', display_name: null }))
      assert.equal(service.seen.length, 2)
      assert.deepEqual(await queued(), [])
    })
  })

  test('without an answer leaves the decision to the lists, and the name is queued for a second look', async () => {
    for (const [name, answer] of [['an error', () => [500, {}]], ['nonsense', () => [200, { ok: true }]], ['silence', () => new Promise(() => {})]]) {
      await withService(answer, async ({ someone, rename, queued }) => {
        const began = Date.now()
        assert.equal(ok(await rename({ display_name: 'มะลิ' })).display_name, 'มะลิ', name)
        assert.ok(Date.now() - began < 5_000, name)
        assert.deepEqual(await queued(), ['display_name'], name)
        assert.equal(invalidField(await rename({ display_name: 'shit' }), 'display_name').code, 'text_not_allowed')
        const [listed] = (await supabase(undefined, env.SERVICE_ROLE_KEY).rpc('list_texts_to_review', { max_rows: 1000 })).data.filter(row => row.user_id === someone.id)
        assert.equal(listed.value, 'มะลิ')
      })
    }
  })
})
