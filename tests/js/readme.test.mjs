// The README's journey works as printed: the block is read from the file and run by bash in the checkout.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { ROOT } from './lib.mjs'

const run = promisify(execFile)

test('the README\'s commands print what the README says', async () => {
  const readme = fs.readFileSync(path.join(ROOT, 'README.md'), 'utf8')
  const block = /<!-- journey -->\s*```sh\n([\s\S]*?)```/.exec(readme)
  assert.ok(block, 'README.md has a fenced block after <!-- journey -->')
  const lines = block[1].trimEnd().split('\n')
  assert.ok(lines.length <= 11, `about ten lines, not ${lines.length}`)
  const { stdout, stderr } = await run('bash', ['-e', '-c', block[1]], { cwd: ROOT, timeout: 60_000 }).catch(failure => {
    assert.fail(`exit ${failure.code}: ${failure.stdout}\n${failure.stderr}`)
  })
  const [migrated, created, profile, view] = stdout.trim().split('\n').map(line => JSON.parse(line))
  assert.deepEqual([migrated.data.migrated_entries, migrated.data.credits_imported], [1, 38], stdout + stderr)
  assert.equal(created.data.carbon_credits, 28)
  assert.deepEqual(created.data.achievements_unlocked.map(one => one.id), ['compost_master'])
  assert.deepEqual([profile.data.total_credits, profile.data.current_level, profile.data.daily_streak], [176, 2, 1])
  assert.deepEqual(view, [{ total_credits: 176, current_level: 2, daily_streak: 1 }])
})
