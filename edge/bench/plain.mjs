// The other side of the comparison: a plain JavaScript worker on the same runtime that gives the same answers.
// ANSWERS names a file {path: {headers, body, cached}}: what is `cached` comes from the Cache API, the rest from memory.
import { readFileSync } from 'node:fs';
import { start } from './runtime.mjs';

const server = start({
  port: Number(process.env.PORT_API),
  script: `
    export default {
      async fetch(request, env) {
        const { pathname } = new URL(request.url);
        const answer = env.ANSWERS[pathname];
        if (!answer) return new Response('{}', { status: 404 });
        if (!answer.cached) return new Response(answer.body, { headers: answer.headers });
        const key = 'https://cache.example' + pathname;
        const kept = await caches.default.match(key);
        if (kept) return new Response(kept.body, kept);
        const fresh = new Response(answer.body, { headers: { ...answer.headers, 'cache-control': 'public, max-age=3600' } });
        await caches.default.put(key, fresh.clone());
        return fresh;
      },
    };`,
  bindings: { ANSWERS: process.env.ANSWERS ? JSON.parse(readFileSync(process.env.ANSWERS, 'utf8')) : {} },
});
process.on('SIGTERM', () => server.dispose().finally(() => process.exit(0)));
console.log(`ready ${await server.ready}`);
