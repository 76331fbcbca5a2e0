// HocuspocusProvider, 2.x to 4.x, on a socket of its own or on one shared with other documents.
import { Client, recordingWebSocket, socketLog } from './client.mjs'
import { libraries } from './libraries.mjs'

/** A HocuspocusProviderWebsocket with its history; several clients may stand on it. */
export class HocuspocusSocket {
  constructor ({ library, url, connect = true, params = {}, options = {} }) {
    this.log = socketLog()
    this.clients = new Set()
    const query = new URLSearchParams(params).toString()
    this.websocket = new libraries[library].HocuspocusProviderWebsocket({
      url: query === '' ? url : `${url}?${query}`,
      // 2.x calls it connect, later ones autoConnect.
      connect,
      autoConnect: connect,
      WebSocketPolyfill: recordingWebSocket(this.log, () => this.changed()),
      ...options
    })
    this.websocket.on('status', () => this.changed())
  }

  get connected () { return this.websocket.status === 'connected' }

  changed () { for (const client of this.clients) client.changed() }

  drop () { this.websocket.webSocket?.terminate() }

  die () {
    this.websocket.shouldConnect = false
    this.websocket.webSocket?.terminate()
  }
}

export class HocuspocusClient extends Client {
  constructor (settings) {
    super(settings)
    const { library, room, token, socket, options = {} } = settings
    this.ownsSocket = socket === undefined
    this.socket = socket ?? new HocuspocusSocket({ ...settings, options: {} })
    this.socket.clients.add(this)
    this.log = this.socket.log
    this.provider = new libraries[library].HocuspocusProvider({
      name: room,
      document: this.doc,
      awareness: this.awareness,
      websocketProvider: this.socket.websocket,
      // 2.x: other providers of this process must be reached through the server.
      broadcast: false,
      token,
      onAuthenticationFailed: ({ reason }) => { this.denials.push(reason); this.changed() },
      onAuthenticated: () => { this.scope = this.provider.authorizedScope; this.changed() },
      onStateless: ({ payload }) => { this.stateless.push(payload); this.changed() },
      onSynced: this.changed,
      ...options
    })
    this.provider.on('unsyncedChanges', this.changed)
    // Since 3.x a provider on a given socket waits for this call; 2.x attached in its constructor.
    this.provider.attach?.()
  }

  get connected () { return this.socket.connected }
  get synced () { return this.provider.isSynced }
  get unsynced () { return this.provider.unsyncedChanges }

  connect () { this.socket.websocket.connect() }
  disconnect () { this.socket.websocket.disconnect() }
  die () { this.socket.die() }
  drop () { this.socket.drop() }

  /** Leave the room and stay on the socket: the provider sends CLOSE for this document. */
  detach () { this.provider.detach() }
  attach () { this.provider.attach() }

  destroy () {
    this.provider.destroy()
    this.socket.clients.delete(this)
    if (this.ownsSocket) this.socket.websocket.destroy()
    this.doc.destroy()
  }

  sendStateless (payload) { this.provider.sendStateless(payload) }
  forceSync () { this.provider.forceSync() }
}
