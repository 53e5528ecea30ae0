// Cloudflare's runtime with one worker in it, as serve.mjs sets it up: the built one, or a script.
import path from 'node:path'
import { fileURLToPath } from 'node:url'

process.env.WRANGLER_SEND_METRICS = 'false'
process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false'
const { Miniflare, Log, LogLevel } = await import('miniflare')
const { unstable_getMiniflareWorkerOptions } = await import('wrangler')

const edge = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const common = { host: '127.0.0.1', cf: false, telemetry: { enabled: false }, log: new Log(LogLevel.WARN) }

/** Starts it; `script` is a module's text, without it the built Worker runs. Answers the Miniflare instance. */
export function start({ port = 0, script, bindings }) {
  const { workerOptions } = unstable_getMiniflareWorkerOptions(path.join(edge, 'wrangler.toml'))
  if (script) {
    // With the same Durable Object classes, empty ones, so that the runtime has as much to set up.
    const classes = Object.values(workerOptions.durableObjects ?? {}).map(({ className }) => `export class ${className} extends DurableObject {}`)
    const module = ["import { DurableObject } from 'cloudflare:workers';", ...classes, script].join('\n')
    return new Miniflare({ ...workerOptions, ...common, name: 'plain', port, modules: true, script: module, bindings })
  }
  const build = path.join(edge, 'build')
  return new Miniflare({
    ...workerOptions, ...common, name: 'carbon-edge', port, bindings, rootPath: build, modulesRoot: build,
    modules: [
      { type: 'ESModule', path: path.join(build, 'index.js') },
      { type: 'CompiledWasm', path: path.join(build, 'index_bg.wasm') },
    ],
  })
}
