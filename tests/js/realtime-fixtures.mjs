// Fixtures for the tests of Realtime: supabase-js as an app uses it, and the bare protocol for what no app would do.
import assert from 'node:assert/strict'
import { createClient } from '@supabase/supabase-js'
import ws from 'ws'
import { env, sleep, sql } from './lib.mjs'

/** Whether the server is this checkout's stand-in, which tests may kill, and not one that REALTIME_URL names. */
export const OWN_SERVER = env.REALTIME_URL === `http://127.0.0.1:${env.PORT_REALTIME}`

export const topicOf = (someone, kind = 'gamification') => `user:${someone.id}:${kind}`
export const SHARED = 'leaderboard:live'

/** Sends an event as the database does, in a transaction of its own. */
export const sendEvent = (topic, event, payload = {}) => sql('select private.send_messages(array[(null, $1, $2, $3::jsonb)::private.message])', [topic, event, payload])

/** Waits until `found` returns something, and returns it. */
export async function eventually(what, found) {
  for (let tries = 0; tries < 400; tries++) {
    const answer = await found()
    if (answer) return answer
    await sleep(25)
  }
  return assert.fail(`did not happen: ${what}`)
}

const open = new Set()

/** supabase-js as the user (or with the key alone), with the token passed to Realtime as an app's session does. */
export async function listener(someone, { vsn, key = env.PUBLISHABLE_KEY, token = someone?.token } = {}) {
  const client = createClient(env.SUPABASE_URL, key, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    realtime: { transport: ws, ...(vsn && { vsn }) },
  })
  open.add(client)
  if (token) await client.realtime.setAuth(token)
  return client
}

/** Ends the connections of all listeners; after each test. */
export async function hangUp() {
  for (const client of open) {
    await client.removeAllChannels()
    client.realtime.disconnect()
  }
  open.clear()
}

/** A channel with everything it received: `states`, `events` (in order) and `systems`. */
export class Listening {
  states = []
  events = []
  systems = []

  constructor(client, topic, config = { private: true }, wire = () => {}) {
    this.client = client
    this.channel = client.channel(topic, { config })
    this.channel.on('broadcast', { event: '*' }, message => this.events.push(message))
    this.channel.on('system', {}, message => this.systems.push(message))
    wire(this.channel)
    this.channel.subscribe((status, error) => this.states.push({ status, message: error?.message ?? '' }))
  }

  get last() { return this.states.at(-1) }

  state(status) {
    return eventually(`${this.channel.topic} ${status}: ${JSON.stringify(this.states)}`, () => this.states.find(one => one.status === status))
  }

  event(name) {
    return eventually(`${name} on ${this.channel.topic}`, () => this.events.find(one => one.event === name))
  }
}

/** Joins a private topic. */
export async function join(client, topic, config, wire) {
  const listening = new Listening(client, topic, config, wire)
  await listening.state('SUBSCRIBED')
  return listening
}

/** Asserts that joining the topic is refused; returns the reason. */
export async function refusedJoin(client, topic, config, wire) {
  const listening = new Listening(client, topic, config, wire)
  const { message } = await listening.state('CHANNEL_ERROR')
  await client.removeChannel(listening.channel)
  assert.ok(!listening.states.some(one => one.status === 'SUBSCRIBED'), JSON.stringify(listening.states))
  return message
}

/** Cuts the connection as a lost network does: without a close frame. */
export function cut(client) {
  const socket = client.realtime.socketAdapter?.socket?.conn ?? client.realtime.conn
  assert.ok(socket?.terminate, 'the connection of supabase-js is found')
  socket.terminate()
}

/** The bare protocol over one connection. */
export class Wire {
  frames = []
  closed = undefined

  static async open({ vsn = '2.0.0', key = env.PUBLISHABLE_KEY, url = env.SUPABASE_URL } = {}) {
    const wire = new Wire()
    const query = new URLSearchParams({ ...(key && { apikey: key }), ...(vsn && { vsn }) })
    wire.vsn = vsn
    wire.socket = new ws(`${url.replace('http', 'ws')}/realtime/v1/websocket?${query}`)
    wire.socket.on('message', data => wire.frames.push(JSON.parse(data.toString())))
    await new Promise((done, failed) => {
      wire.socket.on('open', done)
      wire.socket.on('error', failed)
      wire.socket.on('unexpected-response', (request, answer) => {
        request.destroy()
        failed(Object.assign(new Error('refused'), { status: answer.statusCode }))
      })
    })
    wire.socket.on('error', () => {})
    wire.socket.on('close', (code, reason) => { wire.closed = { code, reason: reason.toString() } })
    return wire
  }

  push(topic, event, payload, ref = null, joinRef = ref) {
    this.socket.send(this.vsn === '1.0.0'
      ? JSON.stringify({ topic, event, payload, ref, join_ref: joinRef })
      : JSON.stringify([joinRef, ref, topic, event, payload]))
  }

  /** Pushes and returns the payload of the reply. */
  call(topic, event, payload, ref, joinRef) {
    this.push(topic, event, payload, ref, joinRef)
    return eventually(`a reply to ${event} ${ref}`, () => {
      const found = this.frames.find(frame => (Array.isArray(frame) ? frame[1] : frame.ref) === ref
        && (Array.isArray(frame) ? frame[3] : frame.event) === 'phx_reply')
      return found && (Array.isArray(found) ? found[4] : found.payload)
    })
  }

  close() { this.socket.terminate() }
}
