// A browser under remote control: one JSON object a line in, one a line out, in the same order.
//
//   in:  {"op": "open", "tab": "ada", "url": "http://..."}
//   out: {"result": ...} or {"error": "..."}
//
// The process, and the browser with it, ends with its input.
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'
]

// Each launch has a new profile, which goes with it.
const browser = await chromium.launch({ executablePath: process.argv[2], args: FLAGS })
const tabs = new Map()
/** What no page may cause: exceptions, and anything its Content-Security-Policy had to stop. */
const faults = []

/**
 * Runs in the page: what the elements read, without some parts of them. If a reading is expected, looks
 * again after each change of the page until it is so.
 */
const reading = ({ selector, without, expected, timeout }) => new Promise((resolve, reject) => {
  const read = () => [...document.querySelectorAll(selector)].map((element) => {
    const copy = element.cloneNode(true)
    if (without) for (const part of copy.querySelectorAll(without)) part.remove()
    return copy.textContent.trim()
  })
  if (expected === undefined) return resolve(read())
  const finish = (settle) => {
    clearTimeout(timer)
    observer.disconnect()
    settle()
  }
  const look = () => {
    if (JSON.stringify(read()) === JSON.stringify(expected)) finish(resolve)
  }
  const fail = () => reject(new Error(`${selector} reads ${JSON.stringify(read())}`))
  const timer = setTimeout(() => finish(fail), timeout)
  const observer = new MutationObserver(look)
  observer.observe(document, { attributes: true, characterData: true, childList: true, subtree: true })
  look()
})

const commands = {
  async open ({ tab, url, settings }) {
    // A context is a person: no storage, no BroadcastChannel in common with the others.
    const context = await browser.newContext(settings)
    const page = await context.newPage()
    page.on('pageerror', (error) => faults.push(`${tab}: ${error.stack}`))
    page.on('console', (message) => {
      if (message.text().includes('Content Security Policy')) faults.push(`${tab}: ${message.text()}`)
    })
    tabs.set(tab, page)
    await page.goto(url)
  },
  close: async ({ tab }) => {
    await tabs.get(tab).context().close()
    tabs.delete(tab)
  },
  close_all: () => Promise.all([...tabs.keys()].map((tab) => commands.close({ tab }))),
  faults: () => faults.splice(0),
  write: ({ tab, text }) => tabs.get(tab).keyboard.type(text),
  press: ({ tab, key }) => tabs.get(tab).keyboard.press(key),
  click: ({ tab, selector }) => tabs.get(tab).click(selector),
  fill: ({ tab, selector, text }) => tabs.get(tab).fill(selector, text),
  sees: async ({ tab, selector, timeout }) => { await tabs.get(tab).waitForSelector(selector, { timeout }) },
  reads: ({ tab, ...what }) => tabs.get(tab).evaluate(reading, what),
  evaluate: ({ tab, expression }) => tabs.get(tab).evaluate(expression),
  picture: async ({ tab, path }) => { await tabs.get(tab).screenshot({ path }) }
}

const answer = (message) => process.stdout.write(JSON.stringify(message) + '\n')

answer({ result: browser.version() })
for await (const line of createInterface({ input: process.stdin })) {
  const { op, ...command } = JSON.parse(line)
  try {
    answer({ result: (await commands[op](command)) ?? null })
  } catch (error) {
    answer({ error: error.message })
  }
}
await browser.close()
