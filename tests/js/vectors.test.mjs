// The golden figures of the domain through the whole system: what the vectors say is what the edge, REST and SQL answer.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { api, closeSql, invalidField, ok, ROOT, rows, signInAnonymously, sql, supabase } from './lib.mjs'
import { figuresOf, pairs, scaled } from './figures.mjs'

const vectors = name => JSON.parse(fs.readFileSync(path.join(ROOT, 'domain/vectors', name), 'utf8'))

/** One weight for each kind of rounding: halves up and down, binary fractions that are not what they seem, the limits. */
const WEIGHTS = ['0.01', '0.1', '0.3', '0.5', '0.615', '1', '1.5', '2.005', '33.333', '99.999', '100']

describe('every category and method at weights that round', () => {
  let someone, shown
  before(async () => {
    someone = await signInAnonymously()
    shown = []
    const entries = pairs.flatMap(one => WEIGHTS.map(weight => `{"category_id":"${one.category}","disposal_method":"${one.method}","weight_kg":${weight},"offline_id":"${one.category} ${one.method} ${weight}"}`))
    for (let from = 0; from < entries.length; from += 200) {
      const answer = ok(await someone.api('POST', '/waste/entries/batch', { raw: `{"entries":[${entries.slice(from, from + 200).join()}]}` }))
      assert.equal(answer.errors, 0)
      shown.push(...answer.entries)
    }
  })
  after(closeSql)

  test('has the same figures by the edge, by REST, in SQL and by hand', async () => {
    assert.equal(pairs.length, 32)
    assert.equal(shown.length, 32 * WEIGHTS.length)
    const list = new Map(rows(await supabase(someone).from('waste_entries').select('offline_id,carbon_credits,co2e_kg,co2e_avoided_kg').limit(1000)).map(one => [one.offline_id, one]))
    const inSql = new Map((await sql(`select offline_id, carbon.credits(category_id, disposal_method, weight_kg) as carbon_credits, carbon.co2e_kg(category_id, disposal_method, weight_kg) as co2e_kg,
      carbon.co2e_avoided_kg(category_id, disposal_method, weight_kg) as co2e_avoided_kg from public.waste_entries where user_id = $1`, [someone.id])).map(one => [one.offline_id, one]))
    for (const entry of shown) {
      const expected = figuresOf(...entry.offline_id.split(' '))
      assert.equal(BigInt(entry.carbon_credits), expected.credits, entry.offline_id)
      for (const found of [list.get(entry.offline_id), inSql.get(entry.offline_id)]) {
        assert.deepEqual([BigInt(found.carbon_credits), scaled(found.co2e_kg, 6), scaled(found.co2e_avoided_kg, 6)], [expected.credits, expected.co2e, expected.avoided], entry.offline_id)
      }
    }
  })
})
