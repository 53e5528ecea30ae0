// Runs the built Worker on Cloudflare's own runtime on this machine: no account, no network look-ups.
// Bindings come from wrangler.toml; settings and secrets from the environment. SIGTERM ends it.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

process.env.WRANGLER_SEND_METRICS = 'false'
process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false'

const here = path.dirname(fileURLToPath(import.meta.url))
const settings = [
  'ENVIRONMENT', 'SUPABASE_URL', 'ANON_KEY', 'SERVICE_ROLE_KEY', 'JWT_SECRET', 'JWT_ISSUER', 'NAMES_SECRET', 'CODE_SECRET', 'EDGE_SECRET', 'EDGE_ADDRESS_SECRET',
  'HOOK_SECRET', 'SMS_PROVIDER', 'SMS_SENDER', 'SMS_URL', 'THAIBULKSMS_KEY', 'THAIBULKSMS_SECRET', 'INBOX_URL', 'METRICS_TOKEN', 'ALLOWED_ORIGINS', 'APP_URL',
  'NO_LIMITS', 'SMS_BUDGET_PER_DAY', 'TURNSTILE_SECRET', 'TURNSTILE_URL', 'MODERATION_URL', 'MODERATION_KEY', 'TEST_PHONE', 'TEST_CODE', 'ALLOW_TEST_PHONE', 'OPERATOR_TOKENS',
  'PROVIDERS_URL', 'LINE_CHANNEL_ID', 'LINE_CHANNEL_SECRET', 'LINE_REDIRECT_URIS', 'FACEBOOK_APP_ID', 'FACEBOOK_APP_SECRET', 'GOOGLE_CLIENT_IDS',
  'APPLE_CLIENT_IDS', 'APPLE_REDIRECT_URIS', 'APPLE_TEAM_ID', 'APPLE_KEY_ID', 'APPLE_PRIVATE_KEY', 'APPLE_TOKEN_SECRET',
]
const scriptPath = path.join(here, 'build', 'index.js')
if (!fs.existsSync(scriptPath)) {
  console.error(`The Worker is not built: ${scriptPath} is missing. Run: worker-build --release (in edge/)`)
  process.exit(1)
}

// Cloudflare's network states to the Worker where a connection comes from and lets no client say so itself. Miniflare's
// entry does so only for clients that do not send the header: here the connection counts, regardless of the header.
const readFile = fs.readFileSync
let patched = false
fs.readFileSync = (file, ...options) => {
  const text = readFile(file, ...options)
  if (!String(file).endsWith(path.join('core', 'entry.worker.js'))) return text
  const trusting = 'clientIp && !request.headers.get("CF-Connecting-IP")'
  patched = String(text).includes(trusting)
  return String(text).replace(trusting, '(request.headers.delete("CF-Connecting-IP"), clientIp)')
}

const { Miniflare, Log, LogLevel } = await import('miniflare')
const { unstable_getMiniflareWorkerOptions } = await import('wrangler')
const { workerOptions } = unstable_getMiniflareWorkerOptions(path.join(here, 'wrangler.toml'))

// The file's settings are production's; only those of the environment count here.
const bindings = Object.fromEntries(settings.filter((name) => process.env[name]).map((name) => [name, process.env[name]]))
const server = new Miniflare({
  ...workerOptions,
  name: 'carbon-edge',
  bindings,
  rootPath: path.join(here, 'build'),
  modulesRoot: path.join(here, 'build'),
  modules: [
    { type: 'ESModule', path: scriptPath },
    { type: 'CompiledWasm', path: path.join(here, 'build', 'index_bg.wasm') },
  ],
  host: '127.0.0.1',
  port: Number(process.env.PORT_API ?? 8787),
  cf: false,
  telemetry: { enabled: false },
  log: new Log(LogLevel.WARN),
  ...(process.env.EDGE_PERSIST ? { durableObjectsPersist: path.resolve(process.env.EDGE_PERSIST, 'do') } : {}),
})

let ending = false
async function end(code) {
  if (ending) return
  ending = true
  await server.dispose().catch(() => {})
  process.exit(code)
}
process.on('SIGTERM', () => end(0))
process.on('SIGINT', () => end(0))

try {
  const address = await server.ready
  if (!patched) throw new Error('This version of miniflare lets clients choose their connecting address')
  console.log(`ready ${address}`)
} catch (error) {
  console.error(error)
  await end(1)
}
