// Bytes that the published libraries put on the wire, beside what they mean. After `make clients`:
//   node tests/vectors/make.mjs > tests/vectors/messages.json
import { createRequire } from 'node:module'
import { Y, libraries } from '../interop/libraries.mjs'

const require = createRequire(new URL('../interop/package.json', import.meta.url))
const encoding = require('lib0/encoding')
const sync = require('y-protocols/sync')
const auth = require('y-protocols/auth')
const awareness = require('y-protocols/awareness')

const hex = bytes => Buffer.from(bytes).toString('hex')
const encoded = write => { const encoder = encoding.createEncoder(); write(encoder); return encoding.toUint8Array(encoder) }

const written = (clientId, edit) => {
  const doc = new Y.Doc()
  doc.clientID = clientId
  edit(doc.getText('text'))
  return doc
}

const DOCUMENTS = {
  empty: new Y.Doc(),
  short: written(1, text => text.insert(0, 'hello')),
  deleted: written(300, text => { text.insert(0, 'héllo 😀'); text.delete(1, 3) }),
  long: written(Number.MAX_SAFE_INTEGER, text => text.insert(0, 'long '.repeat(200)))
}

/** The y-protocols messages, as y-websocket puts them on the wire. */
const messages = () => {
  const list = []
  for (const [name, doc] of Object.entries(DOCUMENTS)) {
    const vector = Y.encodeStateVector(doc)
    const update = Y.encodeStateAsUpdate(doc)
    const add = (step, payload, write) => list.push({
      name: `${name}, step ${step}`,
      type: 0,
      step,
      payload: hex(payload),
      bytes: hex(encoded(encoder => { encoding.writeVarUint(encoder, 0); write(encoder) }))
    })
    add(0, vector, encoder => sync.writeSyncStep1(encoder, doc))
    add(1, update, encoder => sync.writeSyncStep2(encoder, doc))
    add(2, update, encoder => sync.writeUpdate(encoder, update))
  }
  for (const reason of ['', 'no such room', 'für Sie gesperrt 🔒']) {
    list.push({
      name: `denied: ${reason}`,
      type: 2,
      reason,
      bytes: hex(encoded(encoder => { encoding.writeVarUint(encoder, 2); auth.writePermissionDenied(encoder, reason) }))
    })
  }
  list.push({ name: 'query', type: 3, bytes: hex(encoded(encoder => encoding.writeVarUint(encoder, 3))) })
  return list
}

const STATES = [
  [1, 1, {}],
  [300, 7, { user: { name: 'Zoë', color: '#00ff00' }, cursor: { anchor: 3, head: 3 } }],
  [2 ** 32 - 1, 2 ** 31, { text: '"quoted" \\ 😀 \u0000' }],
  [Number.MAX_SAFE_INTEGER, 128, { list: [1, -2.5, 1e21, true, null, [[]]], long: 'x'.repeat(300) }],
  [70_000, 3, null]
]

/** Awareness messages of y-protocols for some of STATES. */
const awarenessMessages = () => [[], [0], [1], [4], [3, 2, 1, 0, 4]].map(places => {
  const doc = new Y.Doc()
  const everybody = new awareness.Awareness(doc)
  everybody.setLocalState(null)
  const entries = places.map(place => STATES[place])
  for (const [client, clock, state] of entries) {
    everybody.meta.set(client, { clock, lastUpdated: 0 })
    if (state !== null) everybody.states.set(client, state)
  }
  const bytes = awareness.encodeAwarenessUpdate(everybody, entries.map(([client]) => client))
  everybody.destroy()
  return {
    name: `awareness of ${places.length}`,
    entries: entries.map(([client, clock, state]) => ({ client, clock, state })),
    bytes: hex(encoded(encoder => { encoding.writeVarUint(encoder, 1); encoding.writeVarUint8Array(encoder, bytes) }))
  }
})

/** A socket that opens by itself, keeps what it is sent, and takes what the test gives it. */
const recordingSocket = sent => class {
  OPEN = 1
  readyState = 0
  handlers = {}
  constructor () {
    sent.socket = this
    setImmediate(() => { this.readyState = 1; this.tell('open', {}) })
  }

  addEventListener (name, handler) { (this.handlers[name] ??= []).push(handler) }
  removeEventListener (name, handler) { this.handlers[name] = this.handlers[name]?.filter(each => each !== handler) }
  tell (name, event) {
    this[`on${name}`]?.(event)
    for (const handler of this.handlers[name] ?? []) handler(event)
  }

  send (data) { sent.push(hex(new Uint8Array(data))) }
  close () { this.readyState = 3; this.tell('close', { code: 1000, reason: '' }) }
}

const turns = async (count = 20) => { for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve)) }

const scripted = async (sent, steps) => {
  const frames = []
  for (const [does, step] of steps) {
    step?.()
    await turns()
    frames.push(...sent.splice(0).map(bytes => ({ does, bytes })))
  }
  return frames
}

const person = clientId => {
  const doc = new Y.Doc()
  doc.clientID = clientId
  const present = new awareness.Awareness(doc)
  present.setLocalState({ name: 'Zoë' })
  return { doc, present }
}

const yWebsocketFrames = async library => {
  const sent = []
  const { doc, present } = person(77)
  const provider = new libraries[library].WebsocketProvider('ws://nowhere', 'room', doc, {
    WebSocketPolyfill: recordingSocket(sent), awareness: present, disableBc: true
  })
  const frames = await scripted(sent, [
    ['opens'],
    ['writes', () => doc.getText('text').insert(0, 'hi')],
    ['leaves', () => present.setLocalState(null)]
  ])
  provider.destroy()
  return { library, room: 'room', frames }
}

const hocuspocusFrames = async ([library, options = {}]) => {
  const sent = []
  const { doc, present } = person(78)
  const { HocuspocusProvider, HocuspocusProviderWebsocket } = libraries[library]
  const websocketProvider = new HocuspocusProviderWebsocket({ url: 'ws://nowhere', WebSocketPolyfill: recordingSocket(sent) })
  const name = 'größe/1'
  const provider = new HocuspocusProvider({
    name, document: doc, awareness: present, websocketProvider, broadcast: false, token: 'tökén', ...options
  })
  provider.sessionId = 'a-session'
  const frames = await scripted(sent, [
    ['opens', () => provider.attach?.()],
    ['writes', () => doc.getText('text').insert(0, 'hi')],
    ['says', () => provider.sendStateless('{"a": "ß"}')],
    ['leaves', () => present.setLocalState(null)],
    ['answers', () => library.startsWith('hocuspocus@4') && sent.socket.tell('message', { data: new Uint8Array([9]).buffer })],
    ['detaches', () => provider.detach?.()]
  ])
  provider.destroy()
  return { library, session: options.sessionAwareness ? provider.sessionId : null, room: name, token: 'tökén', frames }
}

/** What a server of theirs says about a login. */
const hocuspocusLogins = () => {
  const common = createRequire(require.resolve('hocuspocus-provider-4'))('@hocuspocus/common')
  const answer = (says, write) => ({
    ...says,
    bytes: hex(encoded(encoder => {
      encoding.writeVarString(encoder, 'größe/1')
      encoding.writeVarUint(encoder, 2)
      write(encoder)
    }))
  })
  return [
    answer({ scope: 'read-write' }, encoder => common.writeAuthenticated(encoder, 'read-write')),
    answer({ scope: 'readonly' }, encoder => common.writeAuthenticated(encoder, 'readonly')),
    answer({ denied: 'größer als erlaubt' }, encoder => common.writePermissionDenied(encoder, 'größer als erlaubt'))
  ]
}

const inTurn = async (names, make) => {
  const list = []
  for (const name of names) list.push(await make(name))
  return list
}

const named = kind => Object.keys(libraries).filter(name => name.startsWith(kind))
const vectors = {
  messages: messages(),
  awareness: awarenessMessages(),
  yWebsocket: await inTurn(named('y-websocket'), yWebsocketFrames),
  hocuspocus: await inTurn([
    ...named('hocuspocus').map(library => [library]), ['hocuspocus@4.8.0', { sessionAwareness: true }]
  ], hocuspocusFrames),
  logins: hocuspocusLogins()
}
// The providers' timers go on for ever.
process.stdout.write(`${JSON.stringify(vectors, null, 1)}\n`, () => process.exit(0))
