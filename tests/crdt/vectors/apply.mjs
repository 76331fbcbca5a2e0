// Reads {"pieces": [hex...], "orders": [[place...]...]} on standard input; writes, for each order, the document
// that Yjs has after applying the pieces in it, and its text.
import * as Y from 'yjs'

const { pieces, orders } = JSON.parse(await new Response(process.stdin).text())
const documents = orders.map(order => {
  const doc = new Y.Doc({ guid: 'applied' })
  order.forEach(place => Y.applyUpdate(doc, Buffer.from(pieces[place], 'hex')))
  return { update: Buffer.from(Y.encodeStateAsUpdate(doc)).toString('hex'), text: doc.getText('text').toString() }
})
process.stdout.write(JSON.stringify(documents))
