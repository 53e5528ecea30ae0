// The fields that users write and the interfaces that take them: each takes a value as JSON text and returns what was stored,
// or the token with which it was refused, in one form for all interfaces.
import assert from 'node:assert/strict'
import { api, env, signInAnonymously, sql, uuid } from './lib.mjs'

// Fields ------------------------------------------------------------------------------------------
/** Fields of an entry → their columns in REST. */
export const ENTRY = {
  category_id: ['category_id'], disposal_method: ['disposal_method'], weight_kg: ['weight_kg'], logged_at: ['logged_at'], time_zone: ['time_zone'], location: [],
  'location.latitude': ['location_lat'], 'location.longitude': ['location_lng'], notes: ['notes'], place: ['place'], image_id: ['image_id'],
  device_id: ['device_id'], offline_id: ['offline_id'],
}
/** Those that cannot be changed. */
export const FIXED = ['device_id', 'offline_id']

/** Fields of the profile → their table. */
export const PROFILE = {
  username: 'profiles', display_name: 'profiles', province: 'profiles', district: 'profiles', privacy_level: 'profiles', visible_in_leaderboard: 'profiles',
  onboarding_completed: 'profiles', notification_settings: 'profiles', language: 'user_preferences', time_zone: 'user_preferences', daily_goal: 'user_preferences',
  measurement_unit: 'user_preferences', theme: 'user_preferences', auto_sync: 'user_preferences',
}
export const IMPORTED_PREFERENCES = ['language', 'time_zone', 'daily_goal', 'measurement_unit', 'theme', 'auto_sync']

export const DEVICE = ['device_id', 'platform', 'app_version']

// Calling the interfaces -----------------------------------------------------------------------------------
export const body = (members) => `{${Object.entries(members).map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(',')}}`

/** The members of an entry as JSON text, with the odd value as the field. */
function entryWith(field, json, more = {}) {
  const base = { category_id: '"food_waste"', disposal_method: '"composted"', weight_kg: '1', ...more }
  if (field === 'location.latitude') return { ...base, location: `{"latitude":${json},"longitude":100.5}` }
  if (field === 'location.longitude') return { ...base, location: `{"latitude":13.75,"longitude":${json}}` }
  return { ...base, [field]: json }
}

/** The same as columns; only for fields that are columns. */
function columnsWith(field, json) {
  const base = { category_id: '"food_waste"', disposal_method: '"composted"', weight_kg: '1' }
  if (field === 'location.latitude') return { ...base, location_lat: json, location_lng: '100.5' }
  if (field === 'location.longitude') return { ...base, location_lat: '13.75', location_lng: json }
  return { ...base, [field]: json }
}

const changes = (field, members) => {
  const { location, location_lat, location_lng } = members
  if (!field.startsWith('location')) return { [field]: members[field] }
  return location === undefined ? { location_lat, location_lng } : { location }
}

export async function rest(someone, method, path, raw) {
  const response = await fetch(`${env.SUPABASE_URL}/rest/v1${path}`, {
    method, body: raw,
    headers: { apikey: env.ANON_KEY, authorization: `Bearer ${someone.token}`, 'content-type': 'application/json', prefer: 'return=representation' },
  })
  const answer = await response.text()
  let json
  try { json = JSON.parse(answer) } catch { json = answer }
  return { status: response.status, json }
}

/** Sorts the members of objects, because answers have them in any order. */
const ordered = value => (value && typeof value === 'object' && !Array.isArray(value)
  ? Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)).map(([name, part]) => [name, ordered(part)])) : value)
export const accepted = value => ({ stored: ordered(value ?? null) })
const refusal = (code, field) => ({ refused: code.replace(/^carbon\./, ''), field: field.replace(/^device_info\.?/, '') })

/** The outcome of a call of the Worker. */
function edgeOutcome(answer, read) {
  if (answer.json?.success) return accepted(read(answer.data))
  const [first] = answer.error?.details?.fields ?? []
  if (answer.status === 400 && first) return refusal(first.code, first.field)
  return { failed: `${answer.status} ${answer.text.slice(0, 200)}` }
}

/** The outcome of a call through PostgREST, whose message begins with the field. */
function restOutcome(answer, read) {
  if (answer.status >= 200 && answer.status < 300) return accepted(read(answer.json))
  const { code, details, message } = answer.json ?? {}
  if (code === '22023' && details?.startsWith('carbon.')) return refusal(details, /^([a-z_.]+): /.exec(message)?.[1] ?? '')
  return { failed: `${answer.status} ${code} ${message}` }
}

/** Reads a field from an answer. */
export const fieldOfEntry = field => entry => {
  if (field === 'location.latitude') return entry.location?.latitude ?? entry.location_lat
  if (field === 'location.longitude') return entry.location?.longitude ?? entry.location_lng
  if (field === 'location' && 'location_lat' in entry) return entry.location_lat === null ? null : { latitude: entry.location_lat, longitude: entry.location_lng }
  if (field === 'logged_at') return Math.abs(Date.now() - Date.parse(entry.logged_at)) < 120_000 ? 'now' : `${new Date(entry.logged_at).toISOString().slice(0, 19)}${/\.\d+/.exec(entry.logged_at)?.[0] ?? ''}`
  return entry[field]
}

const storedEntries = async (someone, column, values) => {
  const rows = await sql(
    `select to_jsonb(e) as entry, e.${column}::text as tag from public.waste_entries as e where e.user_id = $1 and e.${column}::text = any($2)`, [someone.id, values])
  return new Map(rows.map(row => [row.tag, row.entry]))
}

const newEntry = async someone => (await api('POST', '/waste/entries', {
  token: someone.token, raw: body({ category_id: '"food_waste"', disposal_method: '"composted"', weight_kg: '1', location: '{"latitude":1,"longitude":1}' }) })).data.id

/** Every interface that creates or changes an entry: `run(someone, field, values)` returns an outcome for each value. */
const oneByOne = run => async (someone, field, values) => {
  const outcomes = []
  for (const value of values) outcomes.push(await run(someone, field, value, outcomes.length))
  return outcomes
}
const changing = run => async (someone, field, values) => {
  const id = await newEntry(someone)
  return oneByOne((...args) => run(id, ...args))(someone, field, values)
}

/** A call of one of the functions with an Idempotency-Key. */
const once = (someone, operation, args) => rest(someone, 'POST', '/rpc/run_once', body({
  idempotency_key: JSON.stringify(uuid()), request_scope: '"x"', request_fingerprint: JSON.stringify('0'.repeat(64)), operation: JSON.stringify(operation), arguments: body(args) }))

export const ENTRY_INTERFACES = {
  'edge create': {
    run: oneByOne(async (someone, field, value) => edgeOutcome(
      await api('POST', '/waste/entries', { token: someone.token, raw: body(entryWith(field, value.json)) }), fieldOfEntry(field))),
  },
  'rpc create': {
    run: oneByOne(async (someone, field, value) => restOutcome(
      await rest(someone, 'POST', '/rpc/create_waste_entry', body({ entry: body(entryWith(field, value.json)) })), fieldOfEntry(field))),
  },
  'REST insert': {
    takes: field => ENTRY[field].length > 0,
    run: oneByOne(async (someone, field, value) => restOutcome(
      await rest(someone, 'POST', '/waste_entries', body(columnsWith(field, value.json))), ([row]) => fieldOfEntry(field)(row))),
  },
  'edge batch': { run: batch((someone, raw) => api('POST', '/waste/entries/batch', { token: someone.token, raw }).then(answer => answer.data)) },
  'rpc batch': { run: batch((someone, raw) => rest(someone, 'POST', '/rpc/create_waste_entries', raw).then(answer => answer.json)) },
  import: { run: importing },
  'edge change': {
    changes: true,
    run: changing(async (id, someone, field, value) => edgeOutcome(
      await api('PUT', `/waste/entries/${id}`, { token: someone.token, raw: body(changes(field, entryWith(field, value.json))) }), fieldOfEntry(field))),
  },
  'rpc change': {
    changes: true,
    run: changing(async (id, someone, field, value) => restOutcome(
      await rest(someone, 'POST', '/rpc/update_waste_entry', body({ entry_id: JSON.stringify(id), changes: body(changes(field, entryWith(field, value.json))) })), fieldOfEntry(field))),
  },
  'rpc change once': {
    changes: true,
    run: changing(async (id, someone, field, value) => restOutcome(
      await once(someone, 'update_waste_entry', { entry_id: JSON.stringify(id), changes: body(changes(field, entryWith(field, value.json))) }),
      ({ answer }) => fieldOfEntry(field)(answer))),
  },
  'REST change': {
    changes: true, takes: field => ENTRY[field].length > 0,
    run: changing(async (id, someone, field, value) => restOutcome(
      await rest(someone, 'PATCH', `/waste_entries?id=eq.${id}`, body(changes(field, columnsWith(field, value.json)))), ([row]) => fieldOfEntry(field)(row))),
  },
}

/** A batch of all values at once: an invalid entry never fails the others. */
function batch(send) {
  return async (someone, field, values) => {
    const marked = values.map((value, at) => body(entryWith(field, value.json, field === 'offline_id' ? {} : { offline_id: JSON.stringify(`${field}-${at}`) })))
    const answer = await send(someone, `{"entries":[${marked.join(',')}]}`)
    assert.equal(answer?.entries?.length, values.length, `the batch of ${field} was not taken: ${JSON.stringify(answer)?.slice(0, 300)}`)
    const stored = await storedEntries(someone, 'id', answer.entries.map(line => line.id).filter(Boolean))
    return answer.entries.map(line => (line.status === 'error'
      ? refusal(line.error.code, line.error.field)
      : accepted(fieldOfEntry(field)(stored.get(line.id)))))
  }
}

/** An import of all values at once. Its rejections name no field, and its entries are found by a tag. */
async function importing(someone, field, values) {
  const column = field === 'place' ? 'notes' : 'place'
  const tag = at => `${field}-${at}`
  const at = index => JSON.stringify(new Date(Date.now() - 86_400_000 - index * 1000).toISOString())
  const entries = values.map((value, index) => body(entryWith(field, value.json, {
    [column]: JSON.stringify(tag(index)), ...(field !== 'logged_at' && { logged_at: at(index) }), ...(field !== 'offline_id' && { offline_id: JSON.stringify(tag(index)) }) })))
  const payload = `{"waste_entries":[${entries.join(',')}]}`
  const answer = await rest(someone, 'POST', '/rpc/migrate_local', JSON.stringify({ payload }))
  assert.equal(answer.json.received_entries, values.length, `the import of ${field} was not read: ${JSON.stringify(answer.json).slice(0, 300)}`)
  const rejected = new Map(answer.json.rejected.map(line => [line.index, line.reason]))
  const stored = await storedEntries(someone, column, values.map((_, index) => tag(index)))
  return values.map((_, index) => (rejected.has(index) ? { refused: rejected.get(index) } : accepted(stored.has(tag(index)) ? fieldOfEntry(field)(stored.get(tag(index))) : '(lost)')))
}

export const PROFILE_INTERFACES = {
  'edge change': async (someone, field, value) => edgeOutcome(
    await api('PUT', '/user/profile', { token: someone.token, raw: body({ [field]: value.json }) }), profile => profile[field]),
  'rpc change': async (someone, field, value) => restOutcome(
    await rest(someone, 'POST', '/rpc/update_profile', body({ changes: body({ [field]: value.json }) })), profile => profile[field]),
  'rpc change once': async (someone, field, value) => restOutcome(
    await once(someone, 'update_profile', { changes: body({ [field]: value.json }) }), ({ answer }) => answer[field]),
  'REST change': async (someone, field, value) => {
    const key = PROFILE[field] === 'profiles' ? 'id' : 'user_id'
    const answer = await rest(someone, 'PATCH', `/${PROFILE[field]}?${key}=eq.${someone.id}`, body({ [field]: value.json }))
    // Defaults are added when a profile is shown.
    return restOutcome(answer, () => null).stored === undefined ? restOutcome(answer, () => null)
      : accepted((await api('GET', '/user/profile', { token: someone.token })).data[field])
  },
}

export const DEVICE_INTERFACES = {
  'edge device': async (_, field, value) => {
    const device = { device_id: '"d"', platform: '"web"', app_version: '"1"', [field]: value.json }
    const answer = await api('POST', '/auth/anonymous', { raw: body({ device_info: body(device) }) })
    if (!answer.json?.success) return edgeOutcome(answer)
    const id = answer.data.user.id
    const [row] = await sql('select to_jsonb(d) as device from public.devices as d where d.user_id = $1', [id])
    return accepted(row.device[field])
  },
  'rpc device': async (someone, field, value) => {
    const device = { device_id: '"d"', platform: '"web"', app_version: '"1"', [field]: value.json }
    await sql('delete from public.devices where user_id = $1', [someone.id])
    const answer = await rest(someone, 'POST', '/rpc/register_device', body(device))
    const stored = await sql('select to_jsonb(d) as device from public.devices as d where d.user_id = $1', [someone.id])
    return restOutcome(answer, () => stored[0].device[field])
  },
}

/** A user name belongs to one user, so it is freed from an earlier interface or run. */
export const freeName = async ({ json }) => {
  if (json.startsWith('"')) await sql('update public.profiles set username = null where lower(username) = lower(trim($1))', [JSON.parse(json).replaceAll('\0', '')])
}
