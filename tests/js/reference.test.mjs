// The reference of the database says what the database says, and the API has a page to read.
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

test('the inbox serves the description of the API as a page that needs nothing from elsewhere', async () => {
  const get = async route => {
    const response = await fetch(`${env.INBOX_URL}${route}`)
    assert.equal(response.status, 200, route)
    return { text: await response.text(), policy: response.headers.get('content-security-policy') }
  }
  const page = await get('/api')
  assert.match(page.policy, /^default-src 'none'/)
  const [, script] = page.text.match(/<script src="([^"]+)">/)
  const [, description] = page.text.match(/Redoc\.init\('([^']+)'/)
  assert.match((await get(script)).text, /Redoc/)
  assert.equal((await get(description)).text, read('edge/openapi.yaml'))
})
