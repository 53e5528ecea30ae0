// localStorage of the existing app, as its builds write it: values are strings, mostly JSON.
// A dump is returned together with the expected result of its import, which is written by hand, not computed by the
// importer's rules.

/** One entry in the app's own shape; `overrides` replace or (undefined) remove members. */
export function appEntry(at, overrides = {}) {
  const millis = Date.parse(at)
  const entry = {
    id: `${millis}-${(millis % 999_983).toString(36)}`,
    categoryId: 'plastic_bottles',
    categoryName: 'ขวดพลาสติก',
    disposal: 'recycled',
    weight: 0.5,
    carbonCredits: 8,
    timestamp: new Date(millis).toISOString(),
    inputMethod: 'manual',
    ...overrides,
  }
  return JSON.parse(JSON.stringify(entry))
}

/** An imported app entry in the form of summaryOf. */
export const counted = entry => ({
  category: { paper: 'paper_cardboard', electronics: 'electronic_waste' }[entry.categoryId] ?? entry.categoryId,
  method: entry.disposal === 'animalFeed' ? 'animal_feed' : entry.disposal,
  weight: String(entry.weight),
  at: entry.timestamp,
})

/** Wraps keys as the raw form of migrate-local; values that are not strings yet become JSON. */
export function rawDump(keys, deviceId) {
  const storage = Object.fromEntries(Object.entries(keys).map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]))
  return { local_storage: storage, ...(deviceId && { device_id: deviceId }) }
}

/**
 * The diary of a user who has used the app for three weeks. `day(n, time)` returns the instant n days from today.
 * Returns `{dump, good, received, duplicates, rejected, unreadable, claimed}`.
 */
export function realisticDiary(day) {
  const good = [
    appEntry(day(-20, '08:15:00'), { categoryId: 'food_waste', disposal: 'composted', weight: 1.2, notes: 'เศษผักจากตลาดเช้า 🥬', location: 'บ้านแม่ ลาดพร้าว' }),
    appEntry(day(-20, '19:40:00'), { categoryId: 'food_waste', disposal: 'animalFeed', weight: 0.75, notes: 'ให้ไก่ข้างบ้าน' }),
    appEntry(day(-9, '12:00:00'), { categoryId: 'paper', disposal: 'recycled', weight: 2, isQuickAction: true, categoryName: 'กระดาษ' }),
    appEntry(day(-9, '12:00:03'), { categoryId: 'electronics', disposal: 'donated', weight: 3.4, isQuickAction: true }),
    appEntry(day(-4, '23:59:59'), { categoryId: 'plastic_bags', disposal: 'disposed', weight: 0.1 + 0.2, carbonCredits: 99 }),
    appEntry(day(-3, '00:00:01'), { categoryId: 'glass_bottles', disposal: 'returned', weight: 4.5, carbonCredits: undefined }),
    appEntry(day(-2, '09:30:00'), { categoryId: 'organic_waste', disposal: 'biogas', weight: 10, image: 'data:image/jpeg;base64,/9j/4AAQSkZJRg==' }),
    appEntry(day(-1, '18:05:00'), { categoryId: 'metal_cans', disposal: 'sold', weight: 0.615, notes: 'กระป๋อง\nขายซาเล้ง' }),
    appEntry(day(-1, '18:06:00'), { id: undefined, categoryId: 'plastic_bottles', disposal: 'avoided', weight: 0.04 }),
  ]
  const offlineItem = appEntry(day(-1, '21:00:00'), { categoryId: 'food_waste', disposal: 'reduced', weight: 0.5 })
  const older = appEntry(day(-30, '10:00:00'), { categoryId: 'paper_cardboard', disposal: 'digital', weight: 0.35, notes: 'ใบเสร็จออนไลน์' })
  const bad = [
    appEntry(day(-8, '10:00:00'), { weight: 0 }),
    appEntry(day(-8, '10:00:01'), { weight: -3 }),
    appEntry(day(-8, '10:00:02'), { weight: 5000 }),
    appEntry(day(-8, '10:00:03'), { categoryId: 'plastic_bottles', disposal: 'composted', carbonCredits: 0 }),
    appEntry(day(-8, '10:00:04'), { timestamp: 'เมื่อวาน' }),
  ]
  const sharedId = { id: good[2].id }
  const twin = appEntry(day(-9, '12:00:00'), { ...sharedId, categoryId: 'glass_bottles', disposal: 'recycled', weight: 1 })
  const keys = {
    wasteEntries: [...good, ...bad],
    recentWasteEntries: [...good].reverse().slice(0, 5),
    waste_entries_v2: [older],
    'pending-sync': [{ type: 'waste-entry', data: offlineItem, timestamp: day(-1, '21:00:00') }, twin],
    'carbon-pixels-waste-entries': '[{"id":"1700000000000","categoryId":"food_wa',
    carbonCredits: '2.5e+22',
    carbon_credits_v2: '4210',
    'carbon-pixels-user-stats': { totalEntries: 512, totalCredits: 4210 },
    'carbon-pixels-achievements': ['first_scan', 'daily_tracker'],
    'carbon-pixels-daily-streak': '17',
    userPreferences: { theme: 'dark', language: 'en', fontSize: 'large', weightUnit: 'g' },
    notificationPreferences: { dailyReminder: true, weeklyReport: false },
    onboarding_completed: 'true',
    first_visit: 'true',
    'theme-cache': 'ข้อความธรรมดา',
  }
  return {
    dump: rawDump(keys, 'old-phone'),
    good: [...good, offlineItem, older, twin].map(counted),
    received: good.length + bad.length + 5 + 1 + 2,
    duplicates: 5,
    rejected: bad.length,
    unreadable: ['carbon-pixels-waste-entries'],
  }
}

/** A dump of `count` distinct good entries spread over the days of a year, each padded with a note of `padding` letters. */
export function largeDiary(count, padding = 0) {
  const start = Date.now() - 360 * 86_400_000
  const step = Math.floor((355 * 86_400_000) / count)
  const note = padding > 0 ? 'n'.repeat(padding) : undefined
  const kinds = [['food_waste', 'composted'], ['plastic_bottles', 'recycled'], ['metal_cans', 'sold'], ['plastic_bags', 'disposed'], ['glass_bottles', 'reused']]
  const entries = Array.from({ length: count }, (_, index) => {
    const [categoryId, disposal] = kinds[index % kinds.length]
    return appEntry(new Date(start + index * step).toISOString(), {
      id: `${start + index * step}-${index.toString(36)}`, categoryId, disposal, weight: (index % 900 + 10) / 1000, notes: note,
    })
  })
  return { dump: rawDump({ wasteEntries: entries }), good: entries.map(counted) }
}
