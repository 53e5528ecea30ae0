// One list of odd values through every writable field and every interface: the Worker, rpc, REST, batches and imports either
// all store the same value or all refuse it with the same token and field, and what was answered can be sent again.
//
// The fields are read from the database's grants and from the API's description: a new one fails here until it is listed, and
// a removed one until it is removed here. Where interfaces differ on purpose, DIFFERENCES lists it with the reason.
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { api, closeSql, signInAnonymously, sql } from './lib.mjs'
import { DEVICE, DEVICE_INTERFACES, ENTRY, ENTRY_INTERFACES, FIXED, IMPORTED_PREFERENCES, PROFILE, PROFILE_INTERFACES, body, fieldOfEntry, freeName, accepted, rest } from './odd-values-interfaces.mjs'
import { ODD_VALUES } from './odd-values.mjs'

// What is listed ----------------------------------------------------------------------------------
/** Request bodies of the Worker without stored fields, or with the same parser as one that is listed. */
const OTHER_BODIES = {
  'POST /auth/phone-otp': 'a number and proofs: auth and limits tests hold its readers',
  'POST /auth/verify-otp': 'proofs; its device_info is read by the function that reads /auth/anonymous',
  'POST /auth/refresh': 'a token',
  'POST /auth/social/{provider}': 'proofs, and the provider\'s name of the person, which is taken over by updating the profile',
  'POST /hooks/send-sms': 'Auth writes it, not a client',
  'POST /operator/unlock-number': 'an operator\'s command, only through this interface',
  'POST /operator/exclude-from-boards': 'an operator\'s command, only through this interface',
  'POST /operator/include-in-boards': 'an operator\'s command, only through this interface',
  'POST /operator/decide-referral': 'an operator\'s command, only through this interface',
  'POST /user/migrate-local': 'the diary: its entries and preferences are the interface "import" below',
  'POST /user/sync/request': 'asks, and keeps nothing but the device_id that registering also writes',
  'POST /gamification/achievement/check': 'takes nothing',
  'POST /gamification/challenges/progress': 'takes nothing',
  'POST /social/friends/request': 'names a person and keeps nothing of it: friends.test.mjs holds its reader',
  'POST /gamification/friends/add': 'the same',
  'POST /social/friends/code': 'a flag, kept nowhere: friends.test.mjs holds its reader',
  'POST /social/challenges/join/{id}': 'a code that is compared and kept nowhere: community.test.mjs holds its reader',
  'POST /social/referral/generate': 'takes nothing',
  'POST /social/referral/redeem': 'a code that somebody has: it is looked up, and nothing typed is kept',
}
/** Members of listed bodies that are not fields. */
const OTHER_MEMBERS = {
  'PUT /waste/entries/{id}:expected_revision': 'a condition, not a value',
}
/** Functions that clients may call and that write, besides the interfaces under test. */
const OTHER_FUNCTIONS = {
  generate_referral_code: 'takes nothing', redeem_referral: 'a code that somebody has: it is looked up, and nothing typed is kept',
  delete_waste_entry: 'takes an id', rollback_migration: 'takes an id', check_achievements: 'takes nothing', refresh_challenge_progress: 'takes nothing',
  sync_changes: 'asks, and keeps nothing but the device_id that registering also writes',
  request_friend: 'names a person and keeps nothing of it', find_person: 'names a person and keeps nothing of it',
  accept_friend: 'takes an id', reject_friend: 'takes an id', remove_friend: 'takes an id', block_user: 'takes an id', friend_code: 'takes a flag',
  join_community_challenge: 'takes an id and a code that is compared', leave_community_challenge: 'takes an id',
}
const RPC_INTERFACES = ['create_waste_entry', 'create_waste_entries', 'update_waste_entry', 'update_profile', 'run_once', 'migrate_local', 'register_device']

// Deliberate differences ----------------------------------------------------------------------------
const isNamed = (...names) => value => names.some(name => value.name.endsWith(`: ${name}`))
const isDeep = isNamed('object nested 40 deep', 'list nested 200 deep')
const isBroken = isNamed('half an emoji', 'half an emoji in front')
const isUnreadable = isNamed('U+0000', 'an endless exponent')
const isRefusal = outcome => outcome.refused !== undefined || outcome.failed?.startsWith('400 ')

/**
 * Where an interface may differ from the first one, and why. `when` receives the interface (`via`), the field, the value, the
 * outcome, and the outcome of the first interface. A difference that never occurs fails.
 */
const DIFFERENCES = [
  {
    why: 'The Worker reads no body nested deeper than 32; the database checks the field itself. Both store nothing.',
    when: ({ value, outcome, reference }) => isDeep(value) && isRefusal(reference) && isRefusal(outcome),
  },
  {
    why: 'Half a surrogate pair is no JSON text for PostgREST: the request is refused before its fields are read. Both store nothing.',
    when: ({ via, value, outcome, reference }) => isBroken(value) && reference.refused && /^(rpc device|REST)/.test(via) && outcome.failed?.startsWith('400 PGRST102'),
  },
  {
    why: 'PostgreSQL\'s own JSON holds neither U+0000 nor numbers of more than 131,072 digits: it refuses the request. Both store nothing.',
    when: ({ via, value, outcome, reference }) => isUnreadable(value) && reference.refused && /^(rpc device|REST)/.test(via) && /^400 22(P05|003) /.test(outcome.failed ?? ''),
  },
  {
    why: 'The arguments of register_device are texts: PostgreSQL writes what is no text as one before any function sees it. Nobody but the person reads them.',
    when: ({ via, outcome, reference }) => via === 'rpc device' && reference.refused === 'not_text' && !outcome.failed,
  },
  {
    why: 'The Worker says `required` where a member is missing, null or empty; the function has one token for the field.',
    when: ({ via, field, outcome, reference }) => via === 'rpc device' && reference.refused === 'required' && outcome.refused === `${field}_invalid` && outcome.field === field,
  },
  {
    why: 'Null for a column is null, and a diary has no entry without a time or a zone: by REST the member is left out.',
    when: ({ via, field, value, outcome }) => via.startsWith('REST') && value.json === 'null' && outcome.refused === { time_zone: 'time_zone_invalid', logged_at: 'logged_at_required' }[field],
  },
  {
    why: 'An entry of an old diary that does not say when was not logged now.',
    when: ({ via, field, value, outcome }) => via === 'import' && field === 'logged_at' && value.json === 'null' && outcome.refused === 'logged_at_required',
  },
  {
    why: 'The old app called paper and card `paper`, and the import knows that name: what it refuses is the method, which paper does not have.',
    when: ({ via, field, value, outcome }) => via === 'import' && field === 'category_id' && value.json === '"paper"' && outcome.refused === 'unknown_method',
  },
  {
    why: 'An old diary is repaired rather than refused: half a surrogate pair becomes U+FFFD, and U+0000 is dropped.',
    when: ({ via, value, outcome }) => via === 'import' && (isNamed('U+0000')(value) ? outcome.stored === 'az' : isBroken(value) && /^(a\ufffd|\ufffda)$/.test(outcome.stored)),
  },
  {
    why: 'Free text of an old diary costs no entry: what is no text is dropped, and what is too long is cut.',
    when: ({ via, field, outcome, reference }) => via === 'import' && (field === 'notes' || field === 'place') && (
      reference.refused === `${field}_invalid` || reference.stored === '' ? outcome.stored === null
        : reference.refused === `${field}_too_long` && [...outcome.stored].length <= { notes: 4000, place: 200 }[field]),
  },
]

// Comparing ------------------------------------------------------------------------------------------
const used = new Set()

function sameOutcome(reference, outcome) {
  // An import names only the reason.
  if (outcome.refused !== undefined && outcome.field === undefined) return reference.refused === outcome.refused
  return JSON.stringify(reference) === JSON.stringify(outcome)
}

/** Describes each interface that differs from the first one without a listed reason. */
function unexplained(field, value, outcomes) {
  const [[, reference], ...others] = Object.entries(outcomes)
  const lines = []
  const first = Object.keys(outcomes)[0]
  for (const [via, outcome] of [[first, reference], ...others]) {
    if (outcome.failed === undefined && sameOutcome(reference, outcome)) continue
    const difference = DIFFERENCES.find(one => one.when({ via, field, value, outcome, reference }))
    if (difference) used.add(difference)
    else lines.push(`${field} = ${value.name} (${value.json.slice(0, 40)}): ${first} ${JSON.stringify(reference)}, ${via} ${JSON.stringify(outcome)}`)
  }
  return lines
}

function agree(lines) {
  assert.equal(lines.length, 0, `${lines.length} answers differ:\n${lines.slice(0, 60).join('\n')}`)
}

/** Interfaces whose entries are PUT back exactly as GET answered them. */
const PUT_BACK = ['REST insert', 'import']

/** Describes each entry that the Worker refuses or changes when it is PUT back; one entry for each stored value. */
async function putBack(via, someone, field) {
  const lines = []
  const sent = new Set()
  for (let cursor; cursor !== null;) {
    const page = await api('GET', `/waste/entries?limit=100${cursor ? `&cursor=${cursor}` : ''}`, { token: someone.token })
    for (const entry of page.data.entries) {
      const value = JSON.stringify(fieldOfEntry(field)(entry) ?? null)
      if (sent.has(value)) continue
      sent.add(value)
      const again = await api('PUT', `/waste/entries/${entry.id}`, { token: someone.token, body: entry })
      if (again.status !== 200 || again.data.revision !== entry.revision) lines.push(`${field} by ${via}, put back: ${JSON.stringify(entry).slice(0, 300)}: ${again.text.slice(0, 300)}`)
    }
    cursor = page.meta.next_cursor ?? null
  }
  return lines
}

// What exists ----------------------------------------------------------------------------------------
/** Dotted names of the members that a schema's object may have; `a[].b` in lists. */
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
    assert.deepEqual(rows.map(row => row.field).sort(), listed.sort())
  })

  test('each function that clients may call and that may write', async () => {
    const rows = await sql(`select distinct p.proname as name from pg_proc as p
      where p.pronamespace = 'public'::regnamespace and p.provolatile = 'v' and p.prorettype <> 'trigger'::regtype
        and (has_function_privilege('authenticated', p.oid, 'execute') or has_function_privilege('anon', p.oid, 'execute')) order by 1`)
    assert.deepEqual(rows.map(row => row.name).sort(), [...RPC_INTERFACES, ...Object.keys(OTHER_FUNCTIONS)].sort())
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
      if (!(name in OTHER_BODIES)) assert.deepEqual(found, expected[name]?.sort(), name)
    }
    for (const name of [...Object.keys(expected), ...Object.keys(OTHER_BODIES)]) assert.ok(name in bodies, `${name} takes no body any more`)
  })
})

describe('every interface has the same answer', { timeout: 600_000 }, () => {
  after(closeSql)

  for (const kind of ['create', 'change']) {
    describe(`an entry's fields: ${kind}`, () => {
      const interfaces = Object.entries(ENTRY_INTERFACES).filter(([, via]) => Boolean(via.changes) === (kind === 'change'))
      for (const field of Object.keys(ENTRY).filter(one => kind === 'create' || !FIXED.includes(one))) {
        test(field, async () => {
          const answers = await Promise.all(interfaces.filter(([, via]) => via.takes?.(field) ?? true).map(async ([name, via]) => {
            const someone = await signInAnonymously()
            return { name, someone, outcomes: await via.run(someone, field, ODD_VALUES) }
          }))
          const lines = ODD_VALUES.flatMap((value, at) => unexplained(field, value, Object.fromEntries(answers.map(({ name, outcomes }) => [name, outcomes[at]]))))
          for (const { name, someone } of answers.filter(({ name }) => PUT_BACK.includes(name))) lines.push(...await putBack(name, someone, field))
          agree(lines)
        })
      }
    })
  }

  describe('the profile\'s fields', () => {
    let people, newcomer
    before(async () => {
      newcomer = await signInAnonymously()
      people = Object.fromEntries(await Promise.all(Object.keys(PROFILE_INTERFACES).map(async via => [via, await signInAnonymously()])))
    })

    for (const field of Object.keys(PROFILE)) {
      test(field, async () => {
        const lines = []
        const putAgain = new Set()
        for (const value of ODD_VALUES) {
          if (field === 'username') await freeName(value)
          const outcomes = {}
          const ask = async ([via, run]) => { outcomes[via] = await run(people[via], field, value) }
          if (field !== 'username') await Promise.all(Object.entries(PROFILE_INTERFACES).map(ask))
          // A user name belongs to one user, so it must be free for the next interface.
          else {
            for (const via of Object.entries(PROFILE_INTERFACES)) {
              await ask(via)
              if (outcomes[via[0]].stored) await freeName(value)
            }
          }
          lines.push(...unexplained(field, value, Object.fromEntries(Object.keys(PROFILE_INTERFACES).map(via => [via, outcomes[via]]))))
          // What GET answers after REST has written it can be PUT.
          const written = outcomes['REST change']
          if (written.stored === undefined || putAgain.has(JSON.stringify(written.stored))) continue
          putAgain.add(JSON.stringify(written.stored))
          const again = await PROFILE_INTERFACES['edge change'](people['REST change'], field, { json: JSON.stringify(written.stored) })
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
          // What an import reads, and what it would then write for a user who has no preferences.
          const [{ found }] = await sql(`select private.preferences_not_yet_set($1, coalesce(nullif(carbon.parse_migration($2, now()) -> 'preferences', 'null'), '{}')) -> $3 as found`,
            [newcomer.id, payload, field])
          const reference = await PROFILE_INTERFACES['edge change'](people['edge change'], field, value)
          // An import adopts what is valid and ignores the rest.
          const expected = reference.stored !== undefined && value.json !== 'null' ? reference : { stored: null }
          lines.push(...unexplained(field, value, { profile: expected, import: accepted(found) }))
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
          for (const [via, run] of Object.entries(DEVICE_INTERFACES)) outcomes[via] = await run(someone, field, value)
          lines.push(...unexplained(field, value, outcomes))
        }
        agree(lines)
      })
    }
  })

  test('bytes that are not UTF-8 are refused by every interface', async () => {
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
