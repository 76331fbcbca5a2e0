// Real Yjs clients under remote control: one JSON object a line in, one a line out.
//
//   in:  {"seq": 1, "op": "create", "id": "ann", ...}
//   out: {"seq": 1, "result": ...} or {"seq": 1, "error": "..."}; answers come in the order things finish.
//
// A fault nobody asked about (an exception inside a provider) is {"fault": "..."}. The process ends with its input.
import { createInterface } from 'node:readline'
import { Y, copiesOfYjs, libraries } from './libraries.mjs'
import { HocuspocusClient, HocuspocusSocket } from './hocuspocus_client.mjs'
import { Trace } from './trace.mjs'
import { untilConverged, untilHolds } from './waiting.mjs'
import { YWebsocketClient } from './ywebsocket_client.mjs'

const clients = new Map()
const sockets = new Map()
const traces = new Map()

const named = (map, id) => {
  const found = map.get(id)
  if (found === undefined) throw new Error(`there is no ${id}`)
  return found
}

const deadlineOf = ({ timeout }) => Date.now() + timeout * 1000

const edits = {
  insert: ({ text }, position, content) => text.insert(position, content),
  delete: ({ text }, position, length) => text.delete(position, length),
  append: ({ text }, content) => text.insert(text.length, content),
  map_set: ({ map }, key, value) => map.set(key, value),
  map_delete: ({ map }, key) => map.delete(key)
}

/** Commands to one client: name -> what it does and returns. */
const clientCommands = {
  edit (client, { edits: list, transaction }) {
    const apply = () => { for (const [name, ...args] of list) edits[name](client, ...args) }
    if (transaction) client.doc.transact(apply)
    else apply()
  },
  apply_update: ({ doc }, { update }) => Y.applyUpdate(doc, Buffer.from(update, 'base64'), 'driver'),
  text: ({ text }) => text.toString(),
  map: ({ map }) => map.toJSON(),
  state: ({ doc }) => Buffer.from(Y.encodeStateAsUpdate(doc)).toString('base64'),
  state_vector: ({ doc }) => Buffer.from(Y.encodeStateVector(doc)).toString('base64'),
  awareness: (client) => ({ own: client.awareness.getLocalState(), peers: client.peers }),
  set_awareness_state: ({ awareness }, { state }) => awareness.setLocalState(state),
  set_awareness_field: ({ awareness }, { field, value }) => awareness.setLocalStateField(field, value),
  connect: (client) => client.connect(),
  disconnect (client, command) {
    client.disconnect()
    return untilHolds(client, { connected: false }, deadlineOf(command))
  },
  drop: (client) => client.drop(),
  die: (client) => client.die(),
  detach: (client) => client.detach(),
  attach: (client) => client.attach(),
  destroy (client) {
    clients.delete(client.id)
    client.destroy()
  },
  status: (client) => client.status(),
  send_stateless: (client, { payload }) => client.sendStateless(payload),
  stateless: (client) => client.stateless,
  force_sync (client) {
    client.forceSync()
    return client.unsynced
  },
  wait: (client, command) => untilHolds(client, command.condition, deadlineOf(command))
}

const commands = {
  create (settings) {
    const { kind } = named(new Map(Object.entries(libraries)), settings.library)
    const socket = settings.socket === undefined ? undefined : named(sockets, settings.socket)
    const client = kind === 'hocuspocus'
      ? new HocuspocusClient({ ...settings, socket })
      : new YWebsocketClient(settings)
    clients.set(settings.id, client)
    return client.doc.clientID
  },
  create_socket: (settings) => { sockets.set(settings.id, new HocuspocusSocket(settings)) },
  socket_status: ({ id }) => { const { connected, log } = named(sockets, id); return { connected, ...log } },
  destroy_socket: ({ id }) => { named(sockets, id).websocket.destroy(); sockets.delete(id) },
  destroy_all () {
    for (const client of clients.values()) client.destroy()
    for (const { websocket } of sockets.values()) websocket.destroy()
    clients.clear()
    sockets.clear()
    traces.clear()
  },
  converge: (command) => untilConverged(command.ids.map((id) => named(clients, id)), deadlineOf(command)),
  load_trace ({ id, path, first }) {
    const trace = new Trace(path, first ?? undefined)
    traces.set(id, trace)
    return { transactions: trace.steps.length, content: trace.content }
  },
  replay: ({ id, authors, first, end, ...command }) =>
    named(traces, id).replay(authors.map((name) => named(clients, name)), first, end, deadlineOf(command)),
  copies_of_yjs: copiesOfYjs,
  fail_later: () => { setImmediate(() => { throw new Error('asked for') }) }
}

const perform = async (command) => {
  const { op, id } = command
  if (op in commands) return commands[op](command)
  if (op in clientCommands) return clientCommands[op](named(clients, id), command)
  throw new Error(`unknown command ${op}`)
}

const answer = (message) => process.stdout.write(JSON.stringify(message) + '\n')

// Standard output carries answers only; libraries that log must not break into it.
console.log = console.info = console.debug = console.error
// Every y-websocket provider listens for the end of the process.
process.setMaxListeners(0)
process.on('uncaughtException', (error) => answer({ fault: error?.stack ?? String(error) }))
process.on('unhandledRejection', (error) => answer({ fault: error?.stack ?? String(error) }))

createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line)
  perform(command).then(
    (result) => answer({ seq: command.seq, result: result ?? null }),
    (error) => answer({ seq: command.seq, error: error.message })
  )
}).on('close', () => process.exit(0))

answer({ ready: Object.keys(libraries) })
