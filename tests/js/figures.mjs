// An independent computation of credits, emissions, days, levels, streaks and rewards, in integers and from the raw factors:
// the system is compared with code that it has no part of.
import fs from 'node:fs'
import path from 'node:path'
import assert from 'node:assert/strict'
import { ROOT } from './lib.mjs'

function readFactors() {
  const folder = path.join(ROOT, 'domain/data')
  const files = fs.readdirSync(folder, { recursive: true }).filter(name => name.endsWith('.json'))
  for (const name of files) {
    const parsed = JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'))
    if (parsed.credits_per_tree && Array.isArray(parsed.categories)) return { ...parsed, factor_set: parsed.factor_set ?? parsed.id }
  }
  assert.fail('domain/data holds no factor set')
}

export const factors = readFactors()

/** Every (category, method) pair with its factors as whole numbers: credits per kg and 10⁻⁴ kg CO2e per kg. */
export const pairs = factors.categories.flatMap(category => category.methods.map(method => ({
  category: category.id,
  method: method.id,
  creditsPerKg: BigInt(method.credits_per_kg),
  co2ePerKg: scaled(method.kg_co2e_per_kg, 4),
})))

export const pair = (category, method) => {
  const found = pairs.find(one => one.category === category && one.method === method)
  assert.ok(found, `${category} has ${method}`)
  return found
}

const floorDiv = (a, b) => { const q = a / b; return a % b !== 0n && (a < 0n) !== (b < 0n) ? q - 1n : q }

/** floor(value × 10^places + 0.5) of a decimal given as text or as a number printed shortest. */
export function scaled(value, places) {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(String(value))
  assert.ok(match, `${value} is a decimal`)
  const [, sign, integer, fraction = '', exponent = '0'] = match
  const digits = BigInt(integer + fraction) * (sign ? -1n : 1n)
  const shift = BigInt(places) - BigInt(fraction.length) + BigInt(exponent)
  if (shift >= 0n) return digits * 10n ** shift
  const unit = 10n ** -shift
  return floorDiv(2n * digits + unit, 2n * unit)
}

/** Grams of a weight in kilograms, halves up. */
export const grams = weight => scaled(weight, 3)

/** The figures of one entry as integers: grams, credits, micro-kilograms CO2e and micro-kilograms avoided. */
export function figuresOf(category, method, weight) {
  const own = pair(category, method)
  const disposed = pair(category, 'disposed')
  const weighed = grams(weight)
  return {
    grams: weighed,
    credits: floorDiv(2n * own.creditsPerKg * weighed + 1000n, 2000n),
    co2e: floorDiv(own.co2ePerKg * weighed + 5n, 10n),
    avoided: floorDiv((disposed.co2ePerKg - own.co2ePerKg) * weighed + 5n, 10n),
  }
}

// Creating one takes longer than using it a hundred times.
const calendars = new Map()

/** The calendar day of an instant in a time zone, YYYY-MM-DD. */
export function localDate(instant, zone = 'Asia/Bangkok') {
  let form = calendars.get(zone)
  if (!form) calendars.set(zone, form = new Intl.DateTimeFormat('en-CA', { timeZone: zone }))
  return form.format(new Date(instant))
}

const dayNumber = day => Date.parse(`${day}T00:00:00Z`) / 86_400_000

/** `{current, max}`: the run that ends on asOf, the day before or later, and the longest run. */
export function streakOf(days, asOf) {
  const numbers = [...new Set(days)].map(dayNumber).sort((a, b) => a - b)
  let run = 0, max = 0
  numbers.forEach((day, index) => {
    run = index > 0 && numbers[index - 1] === day - 1 ? run + 1 : 1
    max = Math.max(max, run)
  })
  const last = numbers.at(-1)
  return { current: last !== undefined && last >= dayNumber(asOf) - 1 ? run : 0, max }
}

const THRESHOLDS = [0n, 100n, 500n, 1000n, 2500n]

/** `{level, toNext, trees}` of a total; toNext is null at the top. */
export function levelOf(total) {
  const level = Math.max(1, THRESHOLDS.filter(start => total >= start).length)
  const toNext = level < THRESHOLDS.length ? THRESHOLDS[level] - total : null
  return { level, toNext, trees: total > 0n ? total / 500n : 0n }
}

/**
 * Sums of entries `{category, method, weight, at, zone?}`: figures as in figuresOf and the number of entries, in all, per day, per category and per method.
 */
export function summaryOf(entries) {
  const empty = () => ({ entries: 0, grams: 0n, credits: 0n, positive: 0n, negative: 0n, co2e: 0n, avoided: 0n })
  const all = { ...empty(), days: new Map(), categories: new Map(), methods: new Map() }
  const slot = (map, key) => map.get(key) ?? map.set(key, empty()).get(key)
  for (const entry of entries) {
    const own = figuresOf(entry.category, entry.method, entry.weight)
    const sums = [all, slot(all.days, localDate(entry.at, entry.zone)), slot(all.categories, entry.category),
      slot(all.methods, `${entry.category}/${entry.method}`)]
    for (const sum of sums) {
      sum.entries += 1
      for (const name of ['grams', 'credits', 'co2e', 'avoided']) sum[name] += own[name]
      if (own.credits > 0n) sum.positive += own.credits
      else sum.negative += own.credits
    }
  }
  return all
}

const PLASTIC = ['plastic_bottles', 'plastic_bags']

/** The achievements of the contract, evaluated from the figures of `reached`. */
export const ACHIEVEMENTS = [
  { id: 'first_scan', reward: 10, met: all => all.entries >= 1 },
  { id: 'daily_tracker', reward: 50, met: all => all.longest >= 7 },
  { id: 'recycling_hero', reward: 100, met: all => all.mostRecycled >= 10 },
  { id: 'compost_master', reward: 75, met: all => all.compostedGrams >= 1000n },
  { id: 'plastic_free', reward: 150, met: all => all.plasticFree },
  { id: 'waste_warrior', reward: 200, met: all => all.credits >= 1000n },
  { id: 'tree_saver', reward: 300, met: all => all.credits >= 500n },
]

/** The challenges of every day, evaluated from that day's entries. */
export const CHALLENGES = [
  { type: 'scan_5_items', reward: 20, atLeast: 5, counts: () => true },
  { type: 'recycle_something', reward: 15, atLeast: 1, counts: one => one.method === 'recycled' },
  { type: 'compost_organic', reward: 25, atLeast: 1, counts: one => one.method === 'composted' },
  { type: 'avoid_plastic', reward: 30, atLeast: 1, counts: one => PLASTIC.includes(one.category) && one.method === 'avoided' },
]

function byDay(entries) {
  const days = new Map()
  for (const one of entries) {
    const day = localDate(one.at, one.zone)
    if (!days.get(day)?.push(one)) days.set(day, [one])
  }
  return days
}

function reached(entries, today) {
  const days = byDay(entries)
  const free = one => !PLASTIC.includes(one.category) || ['avoided', 'reused'].includes(one.method)
  return {
    entries: entries.length,
    credits: entries.reduce((sum, one) => sum + figuresOf(one.category, one.method, one.weight).credits, 0n),
    longest: streakOf([...days.keys()], today).max,
    mostRecycled: Math.max(0, ...[...days.values()].map(ofDay => ofDay.filter(one => one.method === 'recycled').length)),
    compostedGrams: entries.filter(one => one.method === 'composted').reduce((sum, one) => sum + grams(one.weight), 0n),
    // Only days that have ended count.
    plasticFree: [...days].some(([day, ofDay]) => day < today && ofDay.every(free)),
  }
}

/**
 * What entries as in summaryOf earn besides their own credits, for a user who wrote today: `{achievements, challenges, credits}`.
 * Imported entries (`moved`) and days before the profile `began` complete no challenges.
 */
export function rewardsOf(entries, { today, began = today }) {
  const all = reached(entries, today)
  const achievements = ACHIEVEMENTS.filter(one => one.met(all))
  const challenges = [...byDay(entries.filter(one => !one.moved))].filter(([date]) => date >= began).flatMap(([date, ofDay]) => CHALLENGES
    .filter(challenge => ofDay.filter(challenge.counts).length >= challenge.atLeast)
    .map(({ type, reward }) => ({ date, type, reward })))
  const credits = [...achievements, ...challenges].reduce((sum, one) => sum + BigInt(one.reward), 0n)
  return { achievements: achievements.map(one => one.id).sort(), challenges, credits }
}

/** Asserts that an entry of the system has the figures computed here. */
export function assertEntryFigures(entry, where = '') {
  const own = figuresOf(entry.category_id, entry.disposal_method, entry.weight_kg)
  const place = `${where} ${entry.category_id}/${entry.disposal_method} ${entry.weight_kg}`
  assert.equal(BigInt(entry.carbon_credits), own.credits, `credits ${place}`)
  assert.equal(scaled(entry.co2e_kg, 6), own.co2e, `co2e ${place}`)
  assert.equal(scaled(entry.co2e_avoided_kg, 6), own.avoided, `avoided ${place}`)
}
