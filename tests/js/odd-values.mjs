// The odd values for every writable field and interface, as JSON text: what phones, keyboards, spreadsheets and hostile
// clients send. Each is sent exactly as it is here, so that numbers retain their digits and texts their escapes.

const text = value => JSON.stringify(value)
const thai = length => text('ก'.repeat(length))
const ago = (days, hours = 0) => new Date(Date.now() - days * 86_400_000 - hours * 3_600_000)
const day = ago(30).toISOString().slice(0, 10)
const inBuddhistYears = date => `${Number(date.slice(0, 4)) + 543}${date.slice(4)}`

const types = {
  null: 'null', true: 'true', false: 'false', list: '[]', 'list of one': '["a"]', object: '{}', 'list of lists': '[[[]]]',
  'object nested 40 deep': '{"a":'.repeat(40) + '1' + '}'.repeat(40), 'list nested 200 deep': '['.repeat(200) + ']'.repeat(200),
}

const numbers = {
  0: '0', '-0': '-0', 1: '1', 2: '2', 3: '3', 4: '4', '1.0': '1.0', '2e0': '2e0', '1.5': '1.5', '-1': '-1', 100: '100', 12345: '12345',
  'a hundredth': '0.01', 'less than a hundredth': '0.009499999', 'half a gram over': '100.0005', 'under half a gram over': '100.0004',
  'a long fraction': '0.30000000000000004', 'more than a bigint': '9223372036854775808', 'more than a double': '1e400', 'next to nothing': '1e-400',
  'an endless exponent': '1e999999999', 'a double to its last digit': '0.1000000000000000055511151231257827021181583404541015625', 'seven decimals': '13.75631234567', 'ninety and a bit': '90.0000001',
}

const texts = {
  'the empty text': '""', blank: '"   "', 'a letter': '"a"', 'padded letters': '"  abc "', 'a number as text': '"12345"', 'one as text': '"1"', 'true as text': '"true"', 'yes': '"yes"', 'null as text': '"null"',
  20: thai(20), 21: thai(21), 50: thai(50), 51: thai(51), 100: thai(100), 101: thai(101), 200: thai(200), 201: thai(201), 500: thai(500),
  501: thai(501), 4000: thai(4000), 4001: thai(4001), '100 emoji': text('😀'.repeat(100)), '60 letters': text('x'.repeat(60)),
  'a bell': '"a\\u0007b"', 'a tab': '"a\\tb"', 'a line break': '"a\\nb"', 'delete': '"a\\u007fb"', 'next line': '"a\\u0085b"',
  'U+0000': '"a\\u0000z"', 'half an emoji': '"a\\ud83d"', 'half an emoji in front': '"\\ude00a"', 'an emoji by escapes': '"\\ud83d\\ude00"',
  'a line separator': '"a\\u2028b"', 'a paragraph separator': '"a\\u2029b"', 'a byte order mark in front': '"\\ufeffabc"', 'a zero-width space': '"\\u200b"',
  'a zero-width space between': '"สม\\u200bชาย"', 'a joiner between letters': '"ab\\u200dcd"', 'a direction override': '"ab\\u202ecd"', 'a direction mark': '"\\u200fabc"',
  'an isolate': '"\\u2067abc\\u2069"', 'a Hangul filler': '"\\u3164"', 'braille blank': '"\\u2800"', 'a code point that is no character': '"a\\uffffb"', 'private use': '"\\uf8ff a"',
  'a mark alone': '"\\u0e48"', 'marks in another order': '"น\\u0e33\\u0e49"', 'decomposed': '"Jose\\u0301"', 'composed': '"José"',
  'a family of emoji': '"👨‍👩‍👧"', 'a heart': '"❤️"', 'a flag by tags': '"🏴󠁧󠁢󠁥󠁮󠁧󠁿"', 'full-width digits': '"１２"', 'Thai digits': '"๑๒"', 'Arabic-Indic digits': '"١٢"', 'no-break space': '"\\u00a0a\\u00a0"',
  'Thai letters': '"สมชาย ใจดี"', 'escaped Thai letters': '"\\u0e2a\\u0e21"', markup: '"<b>a</b>"', quotes: `"a'b\\"c\\\\"`, 'a LIKE pattern': '"%_"', 'a formula': '"=1+1"', 'NaN': '"NaN"', 'infinity': '"infinity"',
}

const times = {
  'a time with a zone': text(`${day}T08:30:00+07:00`), 'UTC': text(`${day}T01:30:00Z`), 'with milliseconds': text(`${day}T01:30:00.123Z`), 'with nanoseconds': text(`${day}T01:30:00.123456789Z`),
  'a zone without colon': text(`${day}T08:30:00+0700`), 'a zone of two digits': text(`${day}T08:30:00+07`), 'a blank between': text(`${day} 08:30:00+07:00`), 'small letters': text(`${day}t08:30:00z`),
  'without a zone': text(`${day}T08:30:00`), 'a day': text(day), 'a day the other way round': '"05/11/2026"', now: '"now"', tomorrow: '"tomorrow"', '24 o’clock': text(`${day}T24:00:00Z`),
  'a leap second': text(`${day}T23:59:60Z`), 'the year 0': '"0000-01-01T00:00:00Z"', 'a Buddhist year': text(`${inBuddhistYears(day)}T08:30:00+07:00`), 'eight years ago': text(ago(8 * 365.25).toISOString()),
  'in an hour': text(ago(0, -1).toISOString()), 'Thai digits in a time': '"๒๐๒๔-๐๖-๐๑T08:30:00Z"', 'a named zone in a time': text(`${day} 08:30:00 Asia/Bangkok`), 'milliseconds since 1970': '1717200000000',
}

const zones = {
  'Asia/Bangkok': '"Asia/Bangkok"', 'small letters zone': '"asia/bangkok"', 'an old name': '"Asia/Calcutta"', 'Europe/Kyiv': '"Europe/Kyiv"', 'UTC zone': '"UTC"', 'an offset': '"+07:00"', 'an offset by name': '"Etc/GMT-7"', localtime: '"localtime"', Factory: '"Factory"',
  'posix/': '"posix/Asia/Bangkok"', 'an abbreviation': '"ICT"', 'a made-up zone': '"Mars/Base"', 'a rule': '"ICT-7"', 'a path': '"../etc/passwd"',
}

const words = {
  recycled: '"recycled"', composted: '"composted"', disposed: '"disposed"', 'another case': '"Composted"', food_waste: '"food_waste"', plastic_bottles: '"plastic_bottles"', paper: '"paper"',
  th: '"th"', en: '"en"', 'th-TH': '"th-TH"', EN: '"EN"', kg: '"kg"', KG: '"KG"', dark: '"dark"', 'Dark Mode': '"Dark Mode"', 'TH-10': '"TH-10"', 'th-10': '"th-10"', 'TH-99': '"TH-99"', web: '"web"', ios: '"ios"',
  'a user name': '"Som_Chai.1"', 'a reserved user name': '"Admin"', 'one that looks reserved': '"adm1n"', 'two letters': '"ab"',
  'a UUID': '"3f2504e0-4f89-41d3-9a0c-0305e82c3301"', 'a UUID in capitals': '"3F2504E0-4F89-41D3-9A0C-0305E82C3301"', 'a UUID in braces': '"{3f2504e0-4f89-41d3-9a0c-0305e82c3301}"', 'a UUID without dashes': '"3f2504e04f8941d39a0c0305e82c3301"',
}

const objects = {
  'a switch': '{"level_up":false}', 'a switch of a later version': '{"tree_planted":true}', 'a switch that is none': '{"level_up":"yes"}', 'a switch of null': '{"level_up":null}', 'a switch with an odd name': '{"Level Up":true}',
  'thirty-one switches': JSON.stringify(Object.fromEntries(Array.from({ length: 31 }, (_, at) => [`switch_${at}`, true]))),
  'a place': '{"latitude":13.7563,"longitude":100.5018}', 'a place as text': '{"latitude":"13.7563","longitude":"100.5018"}', 'half a place': '{"latitude":13.7563}', 'a place off the globe': '{"latitude":91,"longitude":0}',
  'a place east of everything': '{"latitude":0,"longitude":180.5}', 'a place of nulls': '{"latitude":null,"longitude":null}', 'a place with more': '{"latitude":1,"longitude":2,"altitude":3}',
}

/** Every odd value: `{name, json}`, each name once. */
export const ODD_VALUES = Object.entries({ types, numbers, texts, times, zones, words, objects })
  .flatMap(([family, values]) => Object.entries(values).map(([name, json]) => ({ name: `${family}: ${name}`, family, json })))
