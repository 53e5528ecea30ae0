// How long the runtime takes from its start to the first answer, with the built Worker and with a plain one, in turns.
// Prints {"edge": [ms, …], "plain": [ms, …]}; the settings of the Worker come from the environment.
import { start } from './runtime.mjs'

const rounds = Number(process.argv[2] ?? 10)
const names = ['ENVIRONMENT', 'SUPABASE_URL', 'ANON_KEY', 'JWT_SECRET', 'NAMES_SECRET', 'CODE_SECRET', 'EDGE_SECRET', 'EDGE_ADDRESS_SECRET', 'HOOK_SECRET', 'METRICS_TOKEN',
  'SMS_PROVIDER', 'INBOX_URL', 'NO_LIMITS']
const bindings = Object.fromEntries(names.filter((name) => process.env[name]).map((name) => [name, process.env[name]]))
const variants = {
  edge: { bindings },
  plain: { script: "export default { fetch: () => new Response('{}') };" },
}

async function once(options) {
  const begun = performance.now()
  const server = start(options)
  const answer = await fetch(new URL('/api/v1/health/live', await server.ready))
  await answer.text()
  const time = performance.now() - begun
  await server.dispose()
  if (!answer.ok) throw new Error(`the first answer was ${answer.status}`)
  return time
}

const times = { edge: [], plain: [] }
for (let round = 0; round <= rounds; round++) {
  const order = round % 2 === 0 ? ['edge', 'plain'] : ['plain', 'edge']
  for (const name of order) {
    const time = await once(variants[name])
    // The first round warms the disk's cache.
    if (round > 0) times[name].push(time)
  }
}
console.log(JSON.stringify(times))
process.exit(0)
