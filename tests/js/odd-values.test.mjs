// One list of odd values through every field of the profile and of a device by every door: the Worker, rpc, REST and imports
// either all keep the same value or all refuse it with the same token naming the same field, and what was answered can be
// sent again.
//
// Which fields there are is read from the database's grants and from the API's description: a new one fails here until it
// is listed. Where doors differ on purpose, DIFFERENCES says so and why.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { api, closeSql, env, signInAnonymously, sql, uuid } from './lib.mjs'
import { ODD_VALUES } from './odd-values.mjs'

// Fields ------------------------------------------------------------------------------------------
/** Fields of an entry → the columns they are by REST. Here they are only listed; the tests of entries hold their values. */
const ENTRY = {
  category_id: ['category_id'], disposal_method: ['disposal_method'], weight_kg: ['weight_kg'], logged_at: ['logged_at'], time_zone: ['time_zone'], location: [],
  'location.latitude': ['location_lat'], 'location.longitude': ['location_lng'], notes: ['notes'], place: ['place'], image_id: ['image_id'],
  device_id: ['device_id'], offline_id: ['offline_id'],
}
/** Those that stay as they were created. */
const FIXED = ['device_id', 'offline_id']

/** Fields of the profile → the table they stand in. */
const PROFILE = {
  username: 'profiles', display_name: 'profiles', province: 'profiles', district: 'profiles', privacy_level: 'profiles', visible_in_leaderboard: 'profiles',
  onboarding_completed: 'profiles', notification_settings: 'profiles', language: 'user_preferences', time_zone: 'user_preferences', daily_goal: 'user_preferences',
  measurement_unit: 'user_preferences', theme: 'user_preferences', auto_sync: 'user_preferences',
}
const IMPORTED_PREFERENCES = ['language', 'time_zone', 'daily_goal', 'measurement_unit', 'theme', 'auto_sync']

const DEVICE = ['device_id', 'platform', 'app_version']

/** Request bodies of the Worker that are no field of anything kept, or that share the reader of one that is listed. */
const OTHER_BODIES = {
  'POST /auth/phone-otp': 'a number and proofs: auth and limits tests hold its readers',
  'POST /auth/verify-otp': 'proofs; its device_info is read by the function that reads /auth/anonymous',
  'POST /auth/refresh': 'a token',
  'POST /hooks/send-sms': 'Auth writes it, not a client',
  'POST /operator/unlock-number': 'an operator\'s command, by this door alone',
  'POST /operator/exclude-from-boards': 'an operator\'s command, by this door alone',
  'POST /operator/include-in-boards': 'an operator\'s command, by this door alone',
  'POST /user/migrate-local': 'the diary: its entries and preferences are the door "import" below',
  'POST /user/sync/request': 'asks, and keeps nothing but the device_id that registering also writes',
  'POST /gamification/achievement/check': 'takes nothing',
  'POST /gamification/challenges/progress': 'takes nothing',
}
/** Members of listed bodies that are no field. */
const OTHER_MEMBERS = {
  'PUT /waste/entries/{id}:expected_revision': 'a condition, not a value',
}
/** Functions that clients may call and that write, beside the doors. */
const OTHER_FUNCTIONS = {
  delete_waste_entry: 'takes an id', rollback_migration: 'takes an id', check_achievements: 'takes nothing', refresh_challenge_progress: 'takes nothing',
  run_once: 'calls one of the doors by name', sync_changes: 'asks, and keeps nothing but the device_id that registering also writes',
}
const RPC_DOORS = ['create_waste_entry', 'create_waste_entries', 'update_waste_entry', 'update_profile', 'migrate_local', 'register_device']

// Deliberate differences ----------------------------------------------------------------------------
const isNamed = (...names) => value => names.some(name => value.name.endsWith(`: ${name}`))
const isDeep = isNamed('object nested 40 deep', 'list nested 200 deep')
const isBroken = isNamed('half an emoji', 'half an emoji in front')
const isUnreadable = isNamed('U+0000', 'an endless exponent')
const isRefusal = outcome => outcome.refused !== undefined || outcome.failed?.startsWith('400 ')

/**
 * Where a door may differ from the first one, and why. `when` sees the door, the field, the value, the door's outcome and
 * the first door's. One that never occurs fails.
 */
const DIFFERENCES = [
  {
    why: 'The Worker reads no body nested deeper than 32; the database looks at the field itself. Both keep nothing.',
    when: ({ value, outcome, reference }) => isDeep(value) && isRefusal(reference) && isRefusal(outcome),
  },
  {
    why: 'Half a surrogate pair is no JSON text for PostgREST: the request is refused before there are fields. Both keep nothing.',
    when: ({ door, value, outcome, reference }) => isBroken(value) && reference.refused && /^(rpc|REST)/.test(door) && outcome.failed?.startsWith('400 PGRST102'),
  },
  {
    why: 'PostgreSQL\'s own JSON holds neither U+0000 nor numbers of more than 131,072 digits: it refuses the request. Both keep nothing.',
    when: ({ door, value, outcome, reference }) => isUnreadable(value) && reference.refused && /^(rpc|REST)/.test(door) && /^400 22(P05|003) /.test(outcome.failed ?? ''),
  },
  {
    why: 'The arguments of register_device are texts: PostgreSQL writes what is no text as one before any function sees it. Nobody but the person reads them.',
    when: ({ door, outcome, reference }) => door === 'rpc device' && reference.refused === 'not_text' && !outcome.failed,
  },
  {
    why: 'The Worker says `required` where a member is missing, null or empty; the function has one token for the field.',
    when: ({ door, field, outcome, reference }) => door === 'rpc device' && reference.refused === 'required' && outcome.refused === `${field}_invalid` && outcome.field === field,
  },
  {
    why: 'An old diary is repaired rather than refused: U+0000 is dropped from a preference, and what is left may be valid.',
    when: ({ door, value, outcome }) => door === 'import' && isNamed('U+0000')(value) && outcome.kept === 'ab',
  },
]

// Calling the doors -----------------------------------------------------------------------------------
const body = (members) => `{${Object.entries(members).map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(',')}}`

async function rest(someone, method, path, raw) {
  const response = await fetch(`${env.SUPABASE_URL}/rest/v1${path}`, {
    method, body: raw,
    headers: { apikey: env.ANON_KEY, authorization: `Bearer ${someone.token}`, 'content-type': 'application/json', prefer: 'return=representation' },
  })
  const answer = await response.text()
  let json
  try { json = JSON.parse(answer) } catch { json = answer }
  return { status: response.status, json }
}

/** With the members of objects in one order: answers keep none. */
const ordered = value => (value && typeof value === 'object' && !Array.isArray(value)
  ? Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)).map(([name, part]) => [name, ordered(part)])) : value)
const kept = value => ({ kept: ordered(value ?? null) })
const refusal = (code, field) => ({ refused: code.replace(/^carbon\./, ''), field: field.replace(/^device_info\.?/, '') })

/** What came of a call of the Worker. */
function edgeOutcome(answer, read) {
  if (answer.json?.success) return kept(read(answer.data))
  const [first] = answer.error?.details?.fields ?? []
  if (answer.status === 400 && first) return refusal(first.code, first.field)
  return { failed: `${answer.status} ${answer.text.slice(0, 200)}` }
}

/** What came of a call through PostgREST: the field stands before the message. */
function restOutcome(answer, read) {
  if (answer.status >= 200 && answer.status < 300) return kept(read(answer.json))
  const { code, details, message } = answer.json ?? {}
  if (code === '22023' && details?.startsWith('carbon.')) return refusal(details, /^([a-z_.]+): /.exec(message)?.[1] ?? '')
  return { failed: `${answer.status} ${code} ${message}` }
}

const PROFILE_DOORS = {
  'edge change': async (someone, field, value) => edgeOutcome(
    await api('PUT', '/user/profile', { token: someone.token, raw: body({ [field]: value.json }) }), profile => profile[field]),
  'rpc change': async (someone, field, value) => restOutcome(
    await rest(someone, 'POST', '/rpc/update_profile', body({ changes: body({ [field]: value.json }) })), profile => profile[field]),
  'REST change': async (someone, field, value) => {
    const key = PROFILE[field] === 'profiles' ? 'id' : 'user_id'
    const answer = await rest(someone, 'PATCH', `/${PROFILE[field]}?${key}=eq.${someone.id}`, body({ [field]: value.json }))
    // Defaults are filled in where a profile is shown.
    return restOutcome(answer, () => null).kept === undefined ? restOutcome(answer, () => null)
      : kept((await api('GET', '/user/profile', { token: someone.token })).data[field])
  },
}

const DEVICE_DOORS = {
  'edge device': async (_, field, value) => {
    const device = { device_id: '"d"', platform: '"web"', app_version: '"1"', [field]: value.json }
    const answer = await api('POST', '/auth/anonymous', { raw: body({ device_info: body(device) }) })
    if (!answer.json?.success) return edgeOutcome(answer)
    const id = answer.data.user.id
    const [row] = await sql('select to_jsonb(d) as device from public.devices as d where d.user_id = $1', [id])
    return kept(row.device[field])
  },
  'rpc device': async (someone, field, value) => {
    const device = { device_id: '"d"', platform: '"web"', app_version: '"1"', [field]: value.json }
    await sql('delete from public.devices where user_id = $1', [someone.id])
    const answer = await rest(someone, 'POST', '/rpc/register_device', body(device))
    const stored = await sql('select to_jsonb(d) as device from public.devices as d where d.user_id = $1', [someone.id])
    return restOutcome(answer, () => stored[0].device[field])
  },
}

/** A user name belongs to one person: whoever has it from a door or a run before gives it back. */
const freeName = async ({ json }) => {
  if (json.startsWith('"')) await sql('update public.profiles set username = null where lower(username) = lower(trim($1))', [JSON.parse(json).replaceAll('\0', '')])
}

// Comparing ------------------------------------------------------------------------------------------
const used = new Set()

function sameOutcome(reference, outcome) {
  // An import names its reason only.
  if (outcome.refused !== undefined && outcome.field === undefined) return reference.refused === outcome.refused
  return JSON.stringify(reference) === JSON.stringify(outcome)
}

/** The lines about doors that differ from the first one without a listed reason. */
function unexplained(field, value, outcomes) {
  const [[, reference], ...others] = Object.entries(outcomes)
  const lines = []
  const first = Object.keys(outcomes)[0]
  for (const [door, outcome] of [[first, reference], ...others]) {
    if (outcome.failed === undefined && sameOutcome(reference, outcome)) continue
    const difference = DIFFERENCES.find(one => one.when({ door, field, value, outcome, reference }))
    if (difference) used.add(difference)
    else lines.push(`${field} = ${value.name} (${value.json.slice(0, 40)}): ${first} ${JSON.stringify(reference)}, ${door} ${JSON.stringify(outcome)}`)
  }
  return lines
}

function agree(lines) {
  assert.equal(lines.length, 0, `${lines.length} answers differ:\n${lines.slice(0, 60).join('\n')}`)
}

// What there is ----------------------------------------------------------------------------------------
/** Dotted names of what a schema's object may hold; `a[].b` in lists. */
function members(description, schema, prefix = '', seen = []) {
  if (!schema || seen.includes(schema.$ref)) return []
  if (schema.$ref) {
    const target = schema.$ref.split('/').slice(1).reduce((node, part) => node[part], description)
    return members(description, target, prefix, [...seen, schema.$ref])
  }
  const nested = ['allOf', 'anyOf', 'oneOf'].flatMap(kind => (schema[kind] ?? []).flatMap(part => members(description, part, prefix, seen)))
  const own = Object.entries(schema.properties ?? {}).flatMap(([name, part]) => {
    const inner = [...members(description, part, `${prefix}${name}.`, seen), ...members(description, part.items, `${prefix}${name}[].`, seen)]
    return [`${prefix}${name}`, ...inner]
  })
  return [...new Set([...nested, ...own])]
}

describe('every writable field is listed', () => {
  test('each column that clients may write', async () => {
    const rows = await sql(`select distinct table_name || '.' || column_name as field from information_schema.column_privileges
      where grantee in ('anon', 'authenticated', 'PUBLIC') and table_schema = 'public' and privilege_type in ('INSERT', 'UPDATE') order by 1`)
    const listed = [...Object.values(ENTRY).flat().map(column => `waste_entries.${column}`), ...Object.entries(PROFILE).map(([field, table]) => `${table}.${field}`)]
    assert.ok(rows.length > 20)
    assert.deepEqual(rows.map(row => row.field).filter(field => !listed.includes(field)), [])
  })

  test('each function that clients may call and that may write', async () => {
    const rows = await sql(`select distinct p.proname as name from pg_proc as p
      where p.pronamespace = 'public'::regnamespace and p.provolatile = 'v' and p.prorettype <> 'trigger'::regtype
        and (has_function_privilege('authenticated', p.oid, 'execute') or has_function_privilege('anon', p.oid, 'execute')) order by 1`)
    assert.ok(rows.length > 8)
    assert.deepEqual(rows.map(row => row.name).filter(name => !RPC_DOORS.includes(name) && !(name in OTHER_FUNCTIONS)), [])
  })

  test('each member of each request that the API describes', async () => {
    const description = (await api('GET', '/openapi.json')).json
    const bodies = {}
    for (const [path, operations] of Object.entries(description.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        const schema = operation?.requestBody?.content?.['application/json']?.schema
        if (operation?.requestBody) bodies[`${method.toUpperCase()} ${path}`] = members(description, schema).sort()
      }
    }
    const fields = Object.keys(ENTRY)
    const expected = {
      'POST /waste/entries': fields,
      'PUT /waste/entries/{id}': fields.filter(field => !FIXED.includes(field)),
      'POST /waste/entries/batch': ['entries', ...fields.map(field => `entries[].${field}`)],
      'PUT /user/profile': Object.keys(PROFILE),
      'POST /auth/anonymous': ['device_info', ...DEVICE.map(field => `device_info.${field}`)],
    }
    for (const name of Object.keys(OTHER_MEMBERS)) expected[name.split(':')[0]].push(name.split(':')[1])
    for (const [name, found] of Object.entries(bodies)) {
      if (!(name in OTHER_BODIES)) assert.deepEqual(found.filter(field => !expected[name]?.includes(field)), [], name)
    }
    for (const name of [...Object.keys(expected), ...Object.keys(OTHER_BODIES)]) assert.ok(name in bodies, `${name} takes no body any more`)
  })
})

describe('every door gives one answer', { timeout: 600_000 }, () => {
  after(closeSql)

  describe('the profile\'s fields', () => {
    let people, newcomer
    before(async () => {
      newcomer = await signInAnonymously()
      people = Object.fromEntries(await Promise.all(Object.keys(PROFILE_DOORS).map(async door => [door, await signInAnonymously()])))
    })

    for (const field of Object.keys(PROFILE)) {
      test(field, async () => {
        const lines = []
        const putAgain = new Set()
        for (const value of ODD_VALUES) {
          if (field === 'username') await freeName(value)
          const outcomes = {}
          const ask = async ([door, run]) => { outcomes[door] = await run(people[door], field, value) }
          if (field !== 'username') await Promise.all(Object.entries(PROFILE_DOORS).map(ask))
          // A user name belongs to one person: the next door needs it free.
          else {
            for (const door of Object.entries(PROFILE_DOORS)) {
              await ask(door)
              if (outcomes[door[0]].kept) await freeName(value)
            }
          }
          lines.push(...unexplained(field, value, Object.fromEntries(Object.keys(PROFILE_DOORS).map(door => [door, outcomes[door]]))))
          // What GET answers after REST has written it can be PUT.
          const written = outcomes['REST change']
          if (written.kept === undefined || putAgain.has(JSON.stringify(written.kept))) continue
          putAgain.add(JSON.stringify(written.kept))
          const again = await PROFILE_DOORS['edge change'](people['REST change'], field, { json: JSON.stringify(written.kept) })
          if (!sameOutcome(written, again)) lines.push(`${field} = ${value.name}: ${JSON.stringify(written)}, put again ${JSON.stringify(again)}`)
        }
        agree(lines)
      })
    }

    for (const field of IMPORTED_PREFERENCES) {
      test(`${field} of an old diary`, async () => {
        const lines = []
        for (const value of ODD_VALUES) {
          const payload = body({ user_preferences: body({ [field]: value.json }) })
          // What an import reads, and what it would then write for somebody who has chosen nothing.
          const [{ found }] = await sql(`select private.unset_preferences($1, coalesce(nullif(carbon.parse_migration($2, now()) -> 'preferences', 'null'), '{}')) -> $3 as found`,
            [newcomer.id, payload, field])
          const reference = await PROFILE_DOORS['edge change'](people['edge change'], field, value)
          // An import takes what is valid and leaves the rest alone.
          const expected = reference.kept !== undefined && value.json !== 'null' ? reference : { kept: null }
          lines.push(...unexplained(field, value, { profile: expected, import: kept(found) }))
        }
        agree(lines)
      })
    }
  })

  describe('a device\'s fields', () => {
    let someone
    before(async () => { someone = await signInAnonymously() })
    for (const field of DEVICE) {
      test(field, async () => {
        const lines = []
        for (const value of ODD_VALUES) {
          const outcomes = {}
          for (const [door, run] of Object.entries(DEVICE_DOORS)) outcomes[door] = await run(someone, field, value)
          lines.push(...unexplained(field, value, outcomes))
        }
        agree(lines)
      })
    }
  })

  test('bytes that are no UTF-8 are refused by every door', async () => {
    const someone = await signInAnonymously()
    const bytes = text => Buffer.concat([Buffer.from(`${text}"caf`), Buffer.from([0xe9]), Buffer.from('"')])
    const broken = (before, after) => Buffer.concat([bytes(before), Buffer.from(after)])
    const entry = '{"category_id":"food_waste","disposal_method":"composted","weight_kg":1,"notes":'
    assert.equal((await api('POST', '/waste/entries', { token: someone.token, raw: broken(entry, '}') })).status, 400)
    assert.equal((await rest(someone, 'POST', '/rpc/create_waste_entry', broken(`{"entry":${entry}`, '}}'))).status, 400)
    assert.equal((await rest(someone, 'POST', '/waste_entries', broken(entry, '}'))).status, 400)
    assert.equal((await api('PUT', '/user/profile', { token: someone.token, raw: broken('{"display_name":', '}') })).status, 400)
    assert.equal((await rest(someone, 'PATCH', `/profiles?id=eq.${someone.id}`, broken('{"display_name":', '}'))).status, 400)
    const [{ entries }] = await sql('select count(*)::int as entries from public.waste_entries where user_id = $1', [someone.id])
    assert.equal(entries, 0)
  })

  test('every listed difference still occurs', () => {
    const stale = DIFFERENCES.filter(difference => !used.has(difference)).map(difference => difference.why)
    assert.deepEqual(stale, [])
  })
})
