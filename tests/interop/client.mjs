// One Yjs replica with one provider: what tests do to it and what it has seen, whatever its library.
import { isDeepStrictEqual } from 'node:util'
import { Awareness, WebSocket, Y } from './libraries.mjs'

/** A `ws` socket class whose opens and closes are written to `log`. */
export const recordingWebSocket = (log, changed) => class extends WebSocket {
  constructor (url, protocols) {
    super(url, protocols)
    this.on('open', () => { log.opens += 1; changed() })
    this.on('message', (data) => { log.frames += 1; log.bytes += data.byteLength })
    this.on('close', (code, reason) => { log.closes.push({ code, reason: reason.toString() }); changed() })
    // y-websocket 1.x to 3.0 leave no error listener on a socket they gave up while connecting.
    this.on('error', () => {})
  }
}

export const socketLog = () => ({ opens: 0, closes: [], frames: 0, bytes: 0 })

const isSubset = (part, whole) => part !== null && typeof part === 'object' && !Array.isArray(part)
  ? whole !== null && typeof whole === 'object' && Object.entries(part).every(([key, value]) => isSubset(value, whole[key]))
  : JSON.stringify(part) === JSON.stringify(whole)

const nameOf = (state) => state.user?.name ?? ''

export class Client {
  constructor ({ id, library, room, clientId, awareness = true }) {
    this.id = id
    this.library = library
    this.room = room
    this.doc = new Y.Doc()
    if (clientId !== undefined) this.doc.clientID = clientId
    this.text = this.doc.getText('text')
    this.map = this.doc.getMap('map')
    this.awareness = new Awareness(this.doc)
    if (!awareness) this.awareness.setLocalState(null)
    this.vanished = []
    this.names = new Map()
    this.left = []
    this.stateless = []
    this.denials = []
    this.scope = null
    this.gaveUp = null
    this.waiters = new Set()
    this.checkScheduled = false
    this.changed = this.changed.bind(this)
    this.doc.on('update', this.changed)
    this.awareness.on('update', this.changed)
    this.awareness.on('change', ({ added, updated, removed }) => {
      const gone = removed.filter((clientId) => clientId !== this.doc.clientID)
      this.vanished.push(...gone)
      this.left.push(...gone.map((clientId) => this.names.get(clientId) ?? ''))
      for (const clientId of [...added, ...updated]) this.names.set(clientId, nameOf(this.awareness.getStates().get(clientId)))
    })
  }

  /** Something a waiter may look at has changed; many changes in one turn cost one look. */
  changed () {
    if (this.checkScheduled || this.waiters.size === 0) return
    this.checkScheduled = true
    setImmediate(() => {
      this.checkScheduled = false
      for (const waiter of [...this.waiters]) waiter()
    })
  }

  /** States of everybody else, by client id. */
  get peers () {
    const peers = {}
    for (const [clientId, state] of this.awareness.getStates()) {
      if (clientId !== this.doc.clientID) peers[clientId] = state
    }
    return peers
  }

  status () {
    return {
      id: this.id,
      library: this.library,
      clientId: this.doc.clientID,
      connected: this.connected,
      synced: this.synced,
      unsynced: this.unsynced,
      scope: this.scope,
      denials: this.denials,
      gaveUp: this.gaveUp,
      vanished: this.vanished,
      left: this.left,
      opens: this.log.opens,
      closes: this.log.closes,
      frames: this.log.frames,
      bytes: this.log.bytes
    }
  }

  /** Whether every part of `condition` holds now; interop/driver.py says what each part means. */
  holds (condition) {
    return Object.entries(condition).every(([part, wanted]) => {
      switch (part) {
        case 'text': return this.text.toString() === wanted
        case 'contains': return [wanted].flat().every((piece) => this.text.toString().includes(piece))
        case 'length': return this.text.length === wanted
        case 'map': return isSubset(wanted, this.map.toJSON())
        case 'peer': return Object.values(this.peers).some((state) => isSubset(wanted, state))
        case 'no_peer': return !Object.values(this.peers).some((state) => isSubset(wanted, state))
        case 'peers': return Object.keys(this.peers).length === wanted
        case 'names': return isDeepStrictEqual(Object.values(this.peers).map(nameOf).sort(), wanted)
        case 'stateless': return this.stateless.includes(wanted)
        case 'denied': return (this.denials.length > 0) === wanted
        case 'scope': return this.scope === wanted
        case 'opens': return this.log.opens >= wanted
        case 'closed': return this.log.closes.some(({ code }) => code === wanted)
        case 'gave_up': return (this.gaveUp !== null) === wanted
        case 'synced': return this.synced === wanted
        case 'connected': return this.connected === wanted
        case 'unsynced': return this.unsynced === wanted
        default: throw new Error(`unknown condition ${part}`)
      }
    })
  }

  /** What a failed wait says about this replica. */
  describe () {
    const text = this.text.toString()
    const shown = text.length > 2000 ? `${text.slice(0, 800)}…${text.slice(-800)} (${text.length})` : text
    return JSON.stringify({ ...this.status(), text: shown, map: this.map.toJSON(), peers: this.peers, stateless: this.stateless })
  }
}
