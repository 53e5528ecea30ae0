// The reference of the database says what the database says.
import test from 'node:test'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import { ROOT, env } from './lib.mjs'

const read = file => fs.readFileSync(path.join(ROOT, file), 'utf8')

test('docs/reference/sql.md is what the comments in the database say', async () => {
  const client = new pg.Client({ connectionString: env.DB_URL })
  await client.connect()
  const { rows } = await client.query(read('xtask/src/reference.sql'))
  await client.end()
  const [written, stored] = [read('docs/reference/sql.md').trimEnd().split('\n'), rows[0].page.trimEnd().split('\n')]
  const at = stored.findIndex((line, index) => line !== written[index])
  const line = at < 0 && written.length > stored.length ? stored.length : at
  assert.equal(written[line], stored[line], `line ${line + 1} differs: run "cargo xtask docs" and commit the page`)
})

test('every table, view and function in the reference has a sentence', () => {
  const page = read('docs/reference/sql.md')
  assert.ok(page.split('\n### ').length > 100, 'tables, views and functions are listed')
  for (const line of page.split('\n')) assert.doesNotMatch(line, /^ (Read|Called) by/, 'an object has no comment')
})
