// npm ci && npm run make: writes vectors.json, what the real Yjs emits and how it reads it back.
import * as Y from 'yjs'
import { Writers } from './writers.mjs'

const hex = bytes => Buffer.from(bytes).toString('hex')
const ids = map => [...map].map(([client, value]) => [client, value])

// How Yjs itself reads an update: runs of structs without the skips, and the deletions.
const read = update => {
  const { structs, ds } = Y.decodeUpdate(update)
  const ranges = []
  for (const struct of structs) {
    if (struct instanceof Y.Skip) continue
    const { client, clock } = struct.id
    const last = ranges.at(-1)
    if (last?.[0] === client && last[2] === clock) last[2] += struct.length
    else ranges.push([client, clock, clock + struct.length])
  }
  const deletes = ids(ds.clients).flatMap(([client, items]) => items.map(({ clock, len }) => [client, clock, clock + len]))
  return { ranges, deletes }
}

const updates = []
const add = (name, update) => updates.push({ name, hex: hex(update), ...read(update) })

// What one edit emits, after some edits before it.
const edit = (name, change, { before = () => {}, client = 3_000_000_001, gc = true } = {}) => {
  const doc = new Y.Doc({ gc, guid: 'doc' })
  doc.clientID = client
  before(doc)
  const emitted = []
  doc.on('update', update => emitted.push(update))
  doc.transact(() => change(doc))
  emitted.forEach((update, i) => add(i ? `${name} ${i + 1}` : name, update))
  return doc
}
const text = doc => doc.getText('text')
const list = doc => doc.getArray('list')
const map = doc => doc.getMap('map')
const xml = doc => doc.getXmlFragment('prosemirror')
const hello = { before: doc => text(doc).insert(0, 'hello 😀 world') }

add('nothing', Y.encodeStateAsUpdate(new Y.Doc()))
edit('first character', doc => text(doc).insert(0, 'a'))
edit('character at the end', doc => text(doc).insert(14, '!'), hello)
edit('character in the middle', doc => text(doc).insert(3, 'x'), hello)
edit('character at the start', doc => text(doc).insert(0, 'x'), hello)
edit('deletion', doc => text(doc).delete(1, 3), hello)
edit('two deletions and an insertion', doc => { text(doc).delete(1, 2); text(doc).delete(5, 2); text(doc).insert(2, 'ß') }, hello)
edit('text of 127, 128 and 16,384 bytes', doc => [127, 128, 16_384].forEach(n => text(doc).insert(0, 'x'.repeat(n))))
edit('emoji', doc => text(doc).insert(0, '👩‍👩‍👧 😀'))
edit('half a surrogate pair', doc => text(doc).insert(0, 'a\ud83d'))
edit('insertion inside a surrogate pair', doc => text(doc).insert(7, '|'), hello)
edit('deletion of half a surrogate pair', doc => text(doc).delete(6, 1), hello)
edit('byte order mark and NUL', doc => text(doc).insert(0, '\ufeff\u0000'))
edit('root without a name', doc => doc.getText('').insert(0, 'a'))
edit('root with a long name', doc => doc.getText('ü'.repeat(100)).insert(0, 'a'))
edit('bold', doc => text(doc).format(0, 5, { bold: true }), hello)
edit('formats of all kinds', doc => text(doc).format(1, 5, { a: null, b: '', c: 'ü', d: -1.5e-7, e: { href: 'https://x.example/?q=[{"' }, f: [1, [2, {}]], 'schön 😀': false }), hello)
edit('bold text', doc => text(doc).insert(2, 'bold', { bold: true }), hello)
edit('end of bold', doc => text(doc).format(2, 2, { bold: null }), { before: doc => text(doc).insert(0, 'hello', { bold: true }) })
edit('embed', doc => text(doc).insertEmbed(0, { image: 'https://x.example/1.png', tags: ['😀'] }, { width: 10 }))
edit('type as embed', doc => text(doc).insertEmbed(0, new Y.Map([['formula', 'x²']])))
edit('delta', doc => text(doc).applyDelta([{ retain: 2 }, { delete: 1 }, { insert: 'Δ', attributes: { em: {} } }, { insert: { hr: true } }]), hello)
edit('values in a list', doc => list(doc).insert(0, [
  null, true, false, 0, -0, 1, -1, 63, 64, -64, 2 ** 31, 2 ** 31 + 1, -(2 ** 53), 0.5, Math.PI, NaN, -Infinity, '', 'ü😀', new Uint8Array([0, 255]), [], {},
  [[[]], { a: { b: [undefined] } }], { 'schlüssel 😀': 1, '': [2n ** 63n - 1n, -(2n ** 63n), 0n] }, [new Uint8Array([116, 117, 118])]
]))
edit('values nested 64 deep', doc => { let value = 1; for (let i = 0; i < 64; i++) value = i % 2 ? [value] : { a: value }; list(doc).insert(0, [value]) })
edit('binary of 0, 1 and 300 bytes', doc => list(doc).insert(0, [0, 1, 300].map(n => new Uint8Array(n))))
edit('deletion in a list', doc => list(doc).delete(1, 2), { before: doc => list(doc).insert(0, [1, 2, 3, 4]) })
edit('values in a map', doc => { [undefined, null, 5n, 'a', 1.5, { a: 1 }, [1], new Uint8Array([7])].forEach((value, i) => map(doc).set(`schlüssel ${i}`, value)) })
edit('key overwritten', doc => map(doc).set('k', 2), { before: doc => map(doc).set('k', 1) })
edit('key removed', doc => map(doc).delete('k'), { before: doc => map(doc).set('k', 1) })
edit('key without a name', doc => map(doc).set('', 1))
edit('types in types', doc => {
  const inner = new Y.Array()
  list(doc).insert(0, [new Y.Text('t'), inner, new Y.Map([['k', new Y.XmlElement('p')]])])
  inner.push([new Y.Map([['k', new Y.Text('x')]]), new Y.XmlFragment()])
})
edit('edit inside a nested type', doc => list(doc).get(0).insert(1, 'x'), { before: doc => list(doc).insert(0, [new Y.Text('abc')]) })
edit('paragraph', doc => {
  const paragraph = new Y.XmlElement('paragraph')
  xml(doc).insert(0, [paragraph])
  paragraph.setAttribute('align', 'left')
  paragraph.insert(0, [new Y.XmlText('Text 😀'), new Y.XmlElement('hard_break')])
})
edit('attribute', doc => xml(doc).get(0).setAttribute('level', 3), { before: doc => xml(doc).insert(0, [new Y.XmlElement('Überschrift')]) })
edit('format in XML text', doc => xml(doc).get(0).format(0, 2, { strong: {} }), { before: doc => xml(doc).insert(0, [new Y.XmlText('abc')]) })
edit('tree deleted', doc => xml(doc).delete(0, 1), { before: doc => xml(doc).insert(0, [new Y.XmlElement('p')]) })
edit('subdocuments', doc => list(doc).insert(0, [new Y.Doc({ guid: 'a' }), new Y.Doc({ guid: 'ü', autoLoad: true, meta: { title: '😀', tags: [1] } }), new Y.Doc({ guid: '', gc: false, meta: 'm' })]))
edit('lowest client', doc => text(doc).insert(1, 'b'), { client: 0, before: doc => text(doc).insert(0, 'a') })
edit('highest client', doc => text(doc).insert(1, 'b'), { client: Number.MAX_SAFE_INTEGER, before: doc => text(doc).insert(0, 'a') })
edit('copy of an array', doc => list(doc).push([list(doc).get(0).clone()]), { before: doc => list(doc).push([Y.Array.from(['a', 1])]) })

const undone = edit('edit to undo', doc => text(doc).insert(5, ' brave'), hello)
const manager = new Y.UndoManager(text(undone))
text(undone).insert(0, 'new ')
const vector = Y.encodeStateVector(undone)
manager.undo()
add('undo', Y.encodeStateAsUpdate(undone, vector))
manager.redo()
add('redo', Y.encodeStateAsUpdate(undone, vector))

for (const gc of [true, false]) {
  const doc = edit(`to be deleted, gc ${gc}`, doc => { xml(doc).insert(0, [new Y.XmlElement('p')]); xml(doc).get(0).insert(0, [new Y.XmlText('abc')]); map(doc).set('k', 1) }, { gc })
  xml(doc).delete(0, 1)
  map(doc).set('k', new Y.Map([['a', 1]]))
  map(doc).set('k', 2)
  add(`document after deletions, gc ${gc}`, Y.encodeStateAsUpdate(doc))
}

// Holes: every second update lost.
const typed = []
const typist = new Y.Doc({ guid: 'typist' })
typist.clientID = 77
typist.on('update', update => typed.push(update))
for (let i = 0; i < 12; i++) i % 4 === 3 ? text(typist).delete(i - 3, 2) : text(typist).insert(text(typist).length, `${i}😀`)
const holed = Y.mergeUpdates(typed.filter((_, i) => i % 3 !== 1))
const late = new Y.Doc({ guid: 'late' })
late.clientID = 78
text(late).insert(0, 'mine')
Y.applyUpdate(late, holed)
add('merge with holes', holed)
add('merge with a hole at the start', Y.mergeUpdates(typed.slice(4)))
add('diff from within a struct', Y.diffUpdate(Y.encodeStateAsUpdate(typist), Y.encodeStateVector(new Map([[77, 1]]))))
add('diff from within a surrogate pair', Y.diffUpdate(Y.encodeStateAsUpdate(typist), Y.encodeStateVector(new Map([[77, 2]]))))
add('state with structs and deletions pending', Y.encodeStateAsUpdate(late))
add('state with pending parts, from a vector', Y.encodeStateAsUpdate(late, Y.encodeStateVector(new Map([[78, 2], [77, 1]]))))
add('through format 2 and back', Y.convertUpdateFormatV2ToV1(Y.encodeStateAsUpdateV2(typist)))
add('obfuscated', Y.obfuscateUpdate(Y.encodeStateAsUpdate(typist)))

// Good for Yjs, but the CRDT library cannot read them, or reads something else.
const unmergeable = []
const legacy = (name, update) => unmergeable.push({ name, hex: hex(update) })
const emitted = change => { const doc = new Y.Doc(); doc.clientID = 5; change(doc); return Y.encodeStateAsUpdate(doc) }
legacy('XmlHook', emitted(doc => xml(doc).insert(0, [new Y.XmlHook('hook')])))
legacy('half a surrogate pair in an embed', emitted(doc => text(doc).insertEmbed(0, { title: 'cut \ud83d' })))
legacy('half a surrogate pair in a format', emitted(doc => text(doc).insert(0, 'a', { ['title']: '\ude00' })))
const json = (...values) => emitted(doc => doc.transact(transaction => {
  const item = new Y.Item(Y.createID(5, 0), null, null, null, null, list(doc), null, new Y.ContentJSON(values))
  item.integrate(transaction, 0)
}))
legacy('content JSON', json({ a: [1] }, undefined, null))
legacy('content JSON before other bytes', json(1))

const vectors = [
  ['nothing', new Map()], ['one client', new Map([[5, 3]])],
  ['clients of all sizes', new Map([[0, 1], [127, 127], [128, 128], [2 ** 32 - 1, 70_000], [Number.MAX_SAFE_INTEGER, 2 ** 31 - 1]])]
].map(([name, clocks]) => ({ name, hex: hex(Y.encodeStateVector(clocks)), clocks: ids(clocks) }))

const groups = [1, 2, 3, 4, 5, 6].map(seed => {
  const writers = new Writers(seed, 1 + seed % 4).run(50)
  const updates = [...writers.updates, ...writers.derived(4)]
  const doc = new Y.Doc({ guid: 'all' })
  updates.forEach(update => Y.applyUpdate(doc, update))
  return { updates: updates.map(hex), vector: ids(Y.decodeStateVector(Y.encodeStateVector(doc))), text: doc.getText('text').toString() }
})

// One vector a line, so that a change shows.
const lines = list => `[\n${list.map(one => JSON.stringify(one)).join(',\n')}\n]`
process.stdout.write(`{"yjs": "13.6.33",
"updates": ${lines(updates)},
"unmergeable": ${lines(unmergeable)},
"vectors": ${lines(vectors)},
"groups": [${groups.map(group => `{"vector": ${JSON.stringify(group.vector)}, "text": ${JSON.stringify(group.text)}, "updates": ${lines(group.updates)}}`).join(',\n')}]}
`)
