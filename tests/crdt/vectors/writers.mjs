// Seeded random edits of every kind that Yjs knows, by several clients who exchange some of their updates.
import * as Y from 'yjs'

export const random = seed => () => { // mulberry32
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

const WORDS = ['a', 'bc', 'Wörter', '漢字', '😀', 'x😀y', '\ud83d', 'e\u0301', '\ufeff', '\u0000', 'l'.repeat(130), '👩‍👩‍👧']
const CLIENTS = [1, 127, 128, 70_000, 2 ** 31, 2 ** 32 - 1, 2 ** 40 + 3, Number.MAX_SAFE_INTEGER]

export class Writers {
  constructor (seed, count) {
    this.next = random(seed)
    this.updates = []
    this.docs = Array.from({ length: count }, (_, i) => {
      const doc = new Y.Doc({ gc: this.int(4) !== 0, guid: `doc-${seed}-${i}` })
      doc.clientID = CLIENTS[(seed + i) % CLIENTS.length]
      doc.on('update', update => this.updates.push(update))
      return doc
    })
  }

  int (n) { return Math.floor(this.next() * n) }
  pick (list) { return list[this.int(list.length)] }

  value (depth = 0) {
    const kinds = [
      () => this.pick(WORDS), () => '', () => this.int(100) - 50, () => -0, () => 2 ** 31, () => -(2 ** 40), () => 0.5, () => Math.PI,
      () => Number.MAX_SAFE_INTEGER, () => NaN, () => Infinity, () => BigInt(this.int(9)) - 4n, () => 2n ** 62n, () => true, () => false,
      () => null, () => undefined, () => new Uint8Array([this.int(256), 0, 117, 118]), () => new Uint8Array(0),
      () => Array.from({ length: this.int(4) }, () => this.value(depth + 1)),
      () => Object.fromEntries(Array.from({ length: this.int(4) }, () => [this.pick(WORDS), this.value(depth + 1)]))
    ]
    return this.pick(depth < 4 ? kinds : kinds.slice(0, -2))()
  }

  // Yjs takes no bare undefined or bigint as an element of a list.
  element () {
    const value = this.value()
    return value === undefined || typeof value === 'bigint' ? [value] : value
  }

  // A value that is written as JSON: in embeds and formats.
  json () {
    return this.pick([true, false, null, 'red', '', 'Ünï 😀', 0, -1.5, 1e21, {}, { href: 'https://x.example/?a=[{"' }, [[1, [2]], { a: { b: null } }]])
  }

  type () {
    return this.pick([
      () => new Y.Text(this.pick(WORDS)), () => Y.Array.from([this.element(), new Y.Text('t')]), () => new Y.Map([['k', this.value()]]),
      () => new Y.XmlFragment(), () => new Y.XmlElement('paragraph'), () => new Y.XmlText('xml')
    ])()
  }

  text (text) {
    const at = this.int(text.length + 1)
    const length = this.int(Math.min(5, text.length - at + 1))
    this.pick([
      () => text.insert(at, this.pick(WORDS)), () => text.insert(at, this.pick(WORDS)), () => text.insert(at, this.pick(WORDS), { bold: true, color: this.json() }),
      () => text.format(at, length, { [this.pick(['bold', 'schön', 'a'])]: this.json() }), () => text.insertEmbed(at, this.pick([{}, { image: this.json() }]), { width: 5 }),
      () => text.insertEmbed(at, this.type()), () => text.delete(at, length), () => text.applyDelta([{ retain: at }, { insert: 'Δ', attributes: { italic: null } }])
    ])()
  }

  list (list) {
    const at = this.int(list.length + 1)
    const length = this.int(Math.min(4, list.length - at + 1))
    this.pick([
      () => list.insert(at, [this.element()]), () => list.insert(at, [this.element(), this.element(), this.element()]), () => list.insert(at, [this.type()]),
      () => list.insert(at, [new Uint8Array(this.int(200))]), () => list.insert(at, [this.subdocument()]), () => list.delete(at, length)
    ])()
  }

  map (map) {
    const key = this.pick(['k', 'schlüssel', '', '😀'])
    this.pick([() => map.set(key, this.value()), () => map.set(key, this.type()), () => map.set(key, this.subdocument()), () => map.delete(key)])()
  }

  xml (xml) {
    const at = this.int(xml.length + 1)
    this.pick([
      () => xml.insert(at, [new Y.XmlElement(this.pick(['p', 'Überschrift']))]), () => xml.insert(at, [new Y.XmlText(this.pick(WORDS))]),
      () => xml.length && xml.delete(this.int(xml.length), 1),
      () => xml.setAttribute?.('level', this.json()), () => xml.length && this.nested(xml.get(this.int(xml.length)))
    ])()
  }

  subdocument () {
    return new Y.Doc(this.pick([{ guid: 'g' }, { guid: 'g2', meta: { title: 'Anhang' } }, { guid: '', autoLoad: true }, { guid: 'ü', gc: false }]))
  }

  nested (type) {
    if (type instanceof Y.Text) this.text(type)
    else if (type instanceof Y.Array) this.list(type)
    else if (type instanceof Y.XmlFragment) this.xml(type)
    else if (type instanceof Y.Map) this.map(type)
  }

  edit () {
    const doc = this.pick(this.docs)
    const roots = [doc.getText('text'), doc.getArray('liste'), doc.getMap('map'), doc.getXmlFragment('prosemirror'), doc.getXmlFragment('prosemirror'), doc.getText('')]
    doc.transact(() => { for (let i = this.pick([1, 1, 1, 2, 5]); i > 0; i--) this.nested(this.pick(roots)) })
  }

  // One writer catches up with another, as two peers do.
  exchange () {
    const [from, to] = [this.pick(this.docs), this.pick(this.docs)]
    Y.applyUpdate(to, Y.encodeStateAsUpdate(from, Y.encodeStateVector(to)))
  }

  run (edits) {
    for (let i = 0; i < edits; i++) {
      this.edit()
      if (this.int(6) === 0) this.exchange()
    }
    return this
  }

  // What servers and storage make of updates: merges with holes, diffs from within a struct, either form of the format.
  derived (count) {
    const made = []
    const full = this.docs.map(doc => Y.encodeStateAsUpdate(doc))
    for (let i = 0; i < count; i++) {
      const some = this.updates.filter(() => this.int(3) > 0)
      const merged = Y.mergeUpdates(some.length ? some : full)
      const from = this.pick(this.docs)
      const known = new Map([...Y.decodeStateVector(Y.encodeStateVector(from))].map(([client, clock]) => [client, this.int(clock + 1)]))
      const vector = Y.encodeStateVector(known)
      const late = new Y.Doc({ guid: 'late' })
      late.clientID = 9
      Y.applyUpdate(late, merged)
      made.push(this.pick([
        () => merged, () => Y.diffUpdate(merged, vector), () => Y.encodeStateAsUpdate(late), () => Y.encodeStateAsUpdate(late, vector),
        () => Y.encodeStateAsUpdate(from), () => Y.encodeStateAsUpdate(from, vector), () => Y.mergeUpdates(full),
        () => Y.convertUpdateFormatV2ToV1(Y.convertUpdateFormatV1ToV2(merged))
      ])())
    }
    return made
  }
}
