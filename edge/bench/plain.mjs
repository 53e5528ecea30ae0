// The other side of the comparison: a plain JavaScript worker on the same runtime that gives the same answers.
// ANSWERS names a file {path: {headers, body, cached}}: what is `cached` comes from the Cache API, the rest from memory.
// It also does what every answer of the Worker needs: a request's id of 128 random bits and a line in the log. Below
// /bare it leaves these out.
import { readFileSync } from 'node:fs'
import { start } from './runtime.mjs'

const server = start({
  port: Number(process.env.PORT_API),
  script: `
    const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
    async function fromCache(path, answer) {
      if (!answer.cached) return new Response(answer.body, { headers: answer.headers })
      const key = 'https://cache.example' + path
      const found = await caches.default.match(key)
      if (found) return new Response(found.body, found)
      const fresh = new Response(answer.body, { headers: { ...answer.headers, 'cache-control': 'public, max-age=3600' } })
      await caches.default.put(key, fresh.clone())
      return fresh
    }
    export default {
      async fetch(request, env) {
        const { pathname } = new URL(request.url)
        const bare = pathname.startsWith('/bare')
        const path = bare ? pathname.slice(5) : pathname
        const answer = env.ANSWERS[path]
        if (!answer) return new Response('{}', { status: 404 })
        if (bare) return fromCache(path, answer)
        const started = Date.now()
        const id = hex(crypto.getRandomValues(new Uint8Array(16)))
        const response = await fromCache(path, { ...answer, headers: { ...answer.headers, 'x-request-id': id } })
        if (answer.cached) response.headers.set('x-request-id', id)
        console.log(JSON.stringify({ event: 'request', level: 'info', method: request.method, ms: Date.now() - started, request_id: id, route: path, status: 200 }))
        return response
      },
    };`,
  bindings: { ANSWERS: process.env.ANSWERS ? JSON.parse(readFileSync(process.env.ANSWERS, 'utf8')) : {} },
})
process.on('SIGTERM', () => server.dispose().finally(() => process.exit(0)))
console.log(`ready ${await server.ready}`)
