// Plays the public suite against a cache: play.mjs SUITE BASE [ID...], where SUITE is the folder of the
// suite, BASE the URL of the cache. Says one JSON object: of each test its kind, and what went wrong.

import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [folder, base, ...wanted] = process.argv.slice(2)
const file = name => pathToFileURL(`${folder}/${name}`)
const fetch = createRequire(file('package.json'))('node-fetch')
const { default: suites } = await import(file('tests/index.mjs'))
const { getResults, runTests } = await import(file('client/runner.mjs'))

const isWanted = test => !test.browser_only && (!wanted.length || wanted.includes(test.id))
const chosen = suites.map(suite => ({ ...suite, tests: suite.tests.filter(isWanted) }))
await runTests(chosen, fetch, false, base)
const results = getResults()
const said = chosen.flatMap(suite => suite.tests).map(({ id, kind = 'required' }) => {
  const result = results[id]
  return [id, { kind, wrong: result === true ? null : result.join(': ') }]
})
console.log(JSON.stringify(Object.fromEntries(said)))
