// The Worker's settings for the platform.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import path from 'node:path'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const edge = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../edge')
const { unstable_readConfig: readConfig } = createRequire(path.join(edge, 'package.json'))('wrangler')

test('the platform stores the Worker\'s own log lines and no addresses of requests', () => {
  const { observability, logpush, tail_consumers: tails } = readConfig({ config: path.join(edge, 'wrangler.toml') })
  assert.equal(observability.enabled, true)
  assert.equal(observability.logs.enabled, true)
  assert.equal(observability.logs.invocation_logs, false)
  // Traces and exports would contain full addresses, too.
  assert.ok(!observability.traces?.enabled && !logpush && !tails?.length)
})
