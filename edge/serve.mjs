// Runs the built Worker on Cloudflare's own runtime on this machine: no account, no network look-ups.
// Bindings come from wrangler.toml; settings and secrets from the environment. SIGTERM ends it.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

process.env.WRANGLER_SEND_METRICS = 'false';
process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false';

const here = path.dirname(fileURLToPath(import.meta.url));
const settings = [
  'ENVIRONMENT', 'SUPABASE_URL', 'ANON_KEY', 'SERVICE_ROLE_KEY', 'JWT_SECRET', 'JWT_ISSUER', 'EDGE_SECRET',
  'HOOK_SECRET', 'SMS_PROVIDER', 'SMS_SENDER', 'SMS_URL', 'THAIBULKSMS_KEY', 'THAIBULKSMS_SECRET', 'INBOX_URL', 'METRICS_TOKEN', 'ALLOWED_ORIGINS',
];
const scriptPath = path.join(here, 'build', 'index.js');
if (!existsSync(scriptPath)) {
  console.error(`The Worker is not built: ${scriptPath} is missing. Run: worker-build --release (in edge/)`);
  process.exit(1);
}

const { Miniflare, Log, LogLevel } = await import('miniflare');
const { unstable_getMiniflareWorkerOptions } = await import('wrangler');
const { workerOptions } = unstable_getMiniflareWorkerOptions(path.join(here, 'wrangler.toml'));

// The file's settings are production's; only those of the environment count here.
const bindings = Object.fromEntries(settings.filter((name) => process.env[name]).map((name) => [name, process.env[name]]));
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
});

let ending = false;
async function end(code) {
  if (ending) return;
  ending = true;
  await server.dispose().catch(() => {});
  process.exit(code);
}
process.on('SIGTERM', () => end(0));
process.on('SIGINT', () => end(0));

try {
  console.log(`ready ${await server.ready}`);
} catch (error) {
  console.error(error);
  await end(1);
}
