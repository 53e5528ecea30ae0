// The golden vectors of the domain through the entire system: the edge, REST and SQL answer the figures of the vectors.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { api, closeSql, ok, refused, ROOT, rows, signInAnonymously, sql, supabase } from './lib.mjs'
import { figuresOf, pairs, scaled } from './figures.mjs'

/** The cases of a vector file, each with the text of its line, because numbers are compared as they are written. */
const vectors = name => fs.readFileSync(path.join(ROOT, 'domain/vectors', name), 'utf8').split('\n').filter(line => line.startsWith('{'))
  .map(line => ({ ...JSON.parse(line.replace(/,$/, '')), line }))
const weightText = vector => /"weight_kg": ([^,}]+)/.exec(vector.line)[1]
const short = token => token.replace('carbon.', '')

/** One weight for each kind of rounding: halves up and down, decimals without an exact binary form, the limits. */
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

describe('the golden vectors', () => {
  let someone
  before(async () => { someone = await signInAnonymously() })
  after(closeSql)

  test('of credits and emissions come out of the edge', async () => {
    const credits = vectors('credits.json').filter(one => one.input.factor_set === 'tgo-app-2024')
    const emissions = vectors('emissions.json').filter(one => one.input.factor_set === 'tgo-app-2024')
    const cases = [...credits, ...emissions]
    const shown = []
    for (let from = 0; from < cases.length; from += 400) {
      const entries = cases.slice(from, from + 400).map((one, index) =>
        `{"category_id":${JSON.stringify(one.input.category_id)},"disposal_method":${JSON.stringify(one.input.disposal_method)},"weight_kg":${weightText(one)},"offline_id":"vector-${from + index}"}`)
      shown.push(...ok(await someone.api('POST', '/waste/entries/batch', { raw: `{"entries":[${entries.join()}]}` })).entries)
    }
    const list = new Map((await sql('select offline_id, carbon_credits, co2e_kg, co2e_avoided_kg from public.waste_entries where user_id = $1', [someone.id])).map(one => [one.offline_id, one]))
    for (const [index, { name, expected }] of cases.entries()) {
      const [line, row] = [shown[index], list.get(`vector-${index}`)]
      if (expected.error) {
        assert.equal(line.status, 'error', name)
      } else if (typeof expected === 'number') {
        assert.deepEqual([line.carbon_credits, row.carbon_credits], [expected, expected], name)
      } else {
        assert.deepEqual([scaled(row.co2e_kg, 6), scaled(row.co2e_avoided_kg, 6)], [scaled(expected.co2e_kg, 6), scaled(expected.co2e_avoided_kg, 6)], name)
      }
    }
  })

  test('of entries are refused by the edge with the same fields and codes', async () => {
    const timely = ['carbon.logged_at_in_future', 'carbon.logged_at_too_old']
    const cases = vectors('entries.json').filter(one => one.expected.errors && !one.expected.errors.some(error => timely.includes(error.token)))
    assert.ok(cases.length > 20)
    for (const one of cases) {
      const raw = /"entry": (.*)}, "expected"/.exec(one.line)[1]
      const error = refused(await someone.api('POST', '/waste/entries', { raw }), 400, 'VALIDATION_ERROR')
      const named = (error.details?.fields ?? []).map(detail => [detail.field, detail.code])
      const expected = one.expected.errors.map(error => [error.field, short(error.token)])
      if (expected.every(([field]) => field !== '')) assert.deepEqual(named, expected, one.name)
    }
  })

  test('of phone numbers other than Thai mobiles are refused with the same codes, before any SMS', async () => {
    const cases = vectors('phones.json').filter(one => one.expected.error)
    assert.ok(cases.length > 20)
    for (const one of cases) {
      const error = refused(await api('POST', '/auth/phone-otp', { body: one.input }), 400, 'VALIDATION_ERROR')
      assert.equal(error.details.fields[0].code, short(one.expected.error), one.name)
    }
  })

  test('of levels come out of SQL', async () => {
    for (const { input, expected, name } of vectors('levels.json')) {
      const [row] = await sql(`select carbon.level($1) as level, carbon.credits_to_next_level($1) as credits_to_next_level, carbon.level_progress($1) as progress_percentage, carbon.trees($1) as trees`, [input.total])
      const shown = Object.fromEntries(Object.entries(row).map(([key, value]) => [key, value === null ? null : Number(value)]))
      assert.deepEqual(shown, expected, name)
    }
  })

  test('of marks come out of SQL', async () => {
    for (const { input, expected, name } of vectors('marks.json')) {
      const shown = await sql(`select c.source || ' ' || c.source_id as mark from carbon.changed_marks($1, $2, '{}', '{}')
        with ordinality as c (source, source_id, is_reached, place) order by c.place`, [input.total, input.longest_run])
      assert.deepEqual(shown.map(row => row.mark), expected, name)
    }
  })
})
