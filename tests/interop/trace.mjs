// Replays a concurrent editing trace: each author is a real provider, and edits that were concurrent stay so.
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { Y } from './libraries.mjs'

const EDITS_PER_TURN = 4

/** Code points before position `count` may be two UTF-16 units wide; Yjs counts units. */
const unitsOf = (text, count) => {
  let units = 0
  for (let points = 0; points < count; points += 1) units += text.codePointAt(units) > 0xffff ? 2 : 1
  return units
}

/**
 * One Yjs update per transaction of the trace.
 *
 * A transaction's positions hold in the document that its parents, merged, give. A live replica may be
 * ahead of that, so every author also has a shadow document which is fed exactly the causal history of the
 * author's next transaction. The edit is made there, and its update is what the author's live replica
 * applies and its provider sends.
 *
 * `first` limits the replay to the first so many transactions; `content` is then what they give.
 */
export class Trace {
  constructor (path, first) {
    const trace = JSON.parse(gunzipSync(readFileSync(path)).toString())
    const transactions = trace.txns.slice(0, first)
    this.authors = Array.from({ length: trace.numAgents }, (_, agent) => agent)
    this.steps = []
    // Applying structs of its own client id would make a live replica change its id; so the shadows'
    // ids belong to no live replica.
    const clientIds = this.authors.map((agent) => 1000 + agent)
    const shadows = clientIds.map((clientId) => {
      const doc = new Y.Doc()
      doc.clientID = clientId
      return { doc, text: doc.getText('text'), known: new Uint8Array(transactions.length), latest: -1 }
    })
    // Any astral character anywhere makes every position a count of code points that must be converted.
    const astral = transactions.some(({ patches }) => patches.some(([, , inserted]) => /[\u{10000}-\u{10ffff}]/u.test(inserted)))

    transactions.forEach(({ agent, parents, patches }, index) => {
      const shadow = shadows[agent]
      const merged = this.#history(shadow, parents, transactions)
      for (const other of merged) Y.applyUpdate(shadow.doc, this.steps[other].update)
      const needs = merged.length === 0
        ? []
        : clientIds.map((clientId) => [clientId, Y.getState(shadow.doc.store, clientId)])
      this.steps.push({ agent, needs, update: edit(shadow, patches, astral) })
      shadow.known[index] = 1
      shadow.latest = index
    })

    const everything = new Y.Doc()
    everything.transact(() => { for (const { update } of this.steps) Y.applyUpdate(everything, update) })
    this.content = everything.getText('text').toString()
    if (first === undefined && this.content !== trace.endContent) {
      throw new Error('the updates made from the trace do not give its end content')
    }
  }

  /** Transactions that the author must have received since its latest own one, in causal order. */
  #history (shadow, parents, transactions) {
    const stack = [...parents]
    const missing = []
    let continues = shadow.latest === -1
    while (stack.length > 0) {
      const index = stack.pop()
      if (index === shadow.latest) continues = true
      if (shadow.known[index] === 1) continue
      shadow.known[index] = 1
      missing.push(index)
      stack.push(...transactions[index].parents)
    }
    if (!continues) throw new Error('an author forgot an edit of its own: this trace cannot be replayed')
    return missing.sort((a, b) => a - b)
  }

  /** Let each author of `clients` (in the trace's order) type steps `first` up to `end`, all at once. */
  async replay (clients, first, end, deadline) {
    await Promise.all(this.authors.map((agent) => this.#type(agent, clients[agent], first, end, deadline)))
  }

  async #type (agent, client, first, end, deadline) {
    let typed = 0
    for (let index = first; index < end; index += 1) {
      const { agent: author, needs, update } = this.steps[index]
      if (author !== agent) continue
      if (!covers(client.doc, needs)) await received(client, needs, index, deadline)
      Y.applyUpdate(client.doc, update, 'typed')
      typed += 1
      if (typed % EDITS_PER_TURN === 0) await new Promise(setImmediate)
    }
  }
}

const edit = ({ doc, text }, patches, astral) => {
  let update = null
  doc.once('update', (bytes) => { update = bytes })
  doc.transact(() => {
    for (const [position, deleted, inserted] of patches) {
      const start = astral ? unitsOf(text.toString(), position) : position
      const end = astral ? unitsOf(text.toString(), position + deleted) : position + deleted
      if (deleted > 0) text.delete(start, end - start)
      if (inserted !== '') text.insert(start, inserted)
    }
  })
  if (update === null) throw new Error('a transaction of the trace changes nothing')
  return update
}

const covers = (doc, needs) => needs.every(([clientId, clock]) => Y.getState(doc.store, clientId) >= clock)

const received = ({ doc }, needs, index, deadline) => new Promise((resolve, reject) => {
  const finish = (settle) => {
    clearTimeout(timer)
    doc.off('update', look)
    settle()
  }
  const look = () => { if (covers(doc, needs)) finish(resolve) }
  const lack = () => finish(() => reject(new Error(`transaction ${index} still lacks its parents`)))
  const timer = setTimeout(lack, deadline - Date.now())
  doc.on('update', look)
})
