// The suite behind cache-tests.fyi (the npm package http-cache-tests) against Envoy with the module: `make conformance`.
//
//   node run.mjs SUITE ENVOY
//
// Starts the suite's server and Envoy on free ports, runs every test for reverse proxies, and prints what became of
// them beside the results that the suite has of others. A required test that fails must be one of KNOWN.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'

/// Required tests that fail, by the beginning of their names, and the sentence that decides it. The suite is of 2021.
const KNOWN = {
  'age-parse-': 'RFC 9111, 5.1: of a list the first member counts, and what is no number is ignored',
  surrogate: 'Surrogate-Control is no field of RFC 9213 and none of the configured targets'
}
const PEERS = ['nginx', 'varnish', 'squid', 'trafficserver', 'fastly']

const [suite, envoy] = process.argv.slice(2).map(file => path.resolve(file))
const root = fileURLToPath(new URL('../..', import.meta.url))
const out = path.join(root, 'target/conformance')
const load = file => import(pathToFileURL(path.join(suite, file)))

function freePort () {
  return new Promise(resolve => {
    const listener = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = listener.address()
      listener.close(() => resolve(port))
    })
  })
}

function start (name, command, args, options) {
  const log = fs.openSync(path.join(out, `${name}.log`), 'w')
  const child = spawn(command, args, { stdio: ['ignore', log, log], ...options })
  process.on('exit', () => child.kill())
  return child
}

async function ready (url) {
  for (let tries = 0; tries < 150; tries++) {
    if (await fetch(url).then(response => response.ok, () => false)) return
    await sleep(100)
  }
  throw new Error(`${url} does not answer: see ${out}`)
}

/// envoy/minimal.yaml on these ports, with a route that may guess, and a way to fetch in the background.
function configuration (port, origin, admin) {
  let text = fs.readFileSync(path.join(root, 'envoy/minimal.yaml'), 'utf8')
  const change = (from, to) => {
    if (!text.includes(from)) throw new Error(`envoy/minimal.yaml has no ${from}`)
    text = text.replace(from, to)
  }
  change('port_value: 10000', `port_value: ${port}`)
  change('port_value: 15001', `port_value: ${origin}`)
  change('port_value: 9901', `port_value: ${admin}`)
  change('- {path: "/api/games/{gid}", ttl: 5m}', '- {path: "/{*rest}", heuristic: on}')
  change('role: cache', 'role: cache\n                    origin: {cluster: origin}')
  change('target/wasm32', path.join(root, 'target/wasm32'))
  return text
}

function tally (suites, results, judge) {
  const counts = { required: [0, 0], optimal: [0, 0] }
  const failed = { required: [], optimal: [] }
  for (const test of suites.flatMap(suite => suite.tests)) {
    const kind = test.kind ?? 'required'
    if (test.browser_only || !(kind in counts)) continue
    const passed = results[test.id] === true
    counts[kind][1]++
    counts[kind][0] += passed
    // What could not be tried says nothing: Envoy refuses it, or another test fails on which it depends.
    if (!passed && ['⛔️', '⚠️'].includes(judge(suites, test.id, results)[2])) failed[kind].push(test.id)
  }
  return { counts, failed }
}

fs.mkdirSync(out, { recursive: true })
const [origin, port, admin] = [await freePort(), await freePort(), await freePort()]
const settings = {
  npm_config_port: origin,
  npm_config_protocol: 'http',
  npm_config_pidfile: path.join(out, 'server.pid')
}
start('server', process.execPath, ['server/server.mjs'], { cwd: suite, env: { ...process.env, ...settings } })
fs.writeFileSync(path.join(out, 'envoy.yaml'), configuration(port, origin, admin))
start('envoy', envoy, ['-c', path.join(out, 'envoy.yaml'), '--concurrency', '1', '--disable-hot-restart', '-l', 'warning'])
await ready(`http://127.0.0.1:${origin}/`)
await ready(`http://127.0.0.1:${admin}/ready`)

const suites = [...(await load('tests/index.mjs')).default, (await load('tests/surrogate-control.mjs')).default]
const { runTests, getResults } = await load('client/runner.mjs')
const { determineTestResult } = await load('lib/display.mjs')
const nodeFetch = (await import(pathToFileURL(path.join(suite, '../node-fetch/lib/index.mjs')))).default
await runTests(suites, nodeFetch, false, `http://127.0.0.1:${port}`)

const results = getResults()
const { counts, failed } = tally(suites, results, determineTestResult)
const all = { tiercel: counts }
for (const peer of PEERS) {
  const known = JSON.parse(fs.readFileSync(path.join(suite, 'results', `${peer}.json`), 'utf8'))
  all[peer] = tally(suites, known, determineTestResult).counts
}
for (const [name, { required, optimal }] of Object.entries(all)) {
  console.log(`${name.padEnd(14)} required ${required.join(' of ')}   optimal ${optimal.join(' of ')}`)
}
fs.writeFileSync(path.join(out, 'summary.json'), JSON.stringify({ all, failed, results }, null, 2))
console.log(`optimal, not passed: ${failed.optimal.join(', ')}`)
const reason = id => Object.keys(KNOWN).find(known => id.startsWith(known))
for (const known of Object.keys(KNOWN)) {
  const ids = failed.required.filter(id => id.startsWith(known))
  console.log(`required, not passed: ${ids.join(', ')}: ${KNOWN[known]}`)
}
const unknown = failed.required.filter(id => !reason(id))
for (const id of unknown) console.log(`FAILED ${id}: ${JSON.stringify(results[id])}`)
process.exit(unknown.length === 0 ? 0 : 1)
