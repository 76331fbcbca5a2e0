// y-websocket's WebsocketProvider, 1.5 to 3.1: one room, one socket.
import { Client, recordingWebSocket, socketLog } from './client.mjs'
import { libraries } from './libraries.mjs'

export class YWebsocketClient extends Client {
  constructor (settings) {
    super(settings)
    const { library, url, room, token, connect = true, params = {}, options = {} } = settings
    this.log = socketLog()
    this.provider = new libraries[library].WebsocketProvider(url, room, this.doc, {
      connect,
      awareness: this.awareness,
      // Providers of one process would meet over the BroadcastChannel and need no server at all.
      disableBc: true,
      params: token === undefined ? params : { token, ...params },
      WebSocketPolyfill: recordingWebSocket(this.log, this.changed),
      ...options
    })
    this.provider.on('status', this.changed)
    this.provider.on('sync', this.changed)
    this.provider.on('closed', (event) => { this.gaveUp = { code: event.code, reason: event.reason }; this.changed() })
  }

  get connected () { return this.provider.wsconnected }
  get synced () { return this.provider.synced }
  get unsynced () { return null }

  connect () { this.provider.connect() }
  disconnect () { this.provider.disconnect() }

  /** The process is gone: no goodbye, no close frame, no return. */
  die () {
    this.provider.shouldConnect = false
    this.provider.ws?.terminate()
  }

  /** The network breaks; the provider notices and returns by itself. */
  drop () { this.provider.ws?.terminate() }

  destroy () {
    this.provider.destroy()
    this.awareness.destroy()
    this.doc.destroy()
  }

  sendStateless () { throw new Error('y-websocket has no stateless messages') }
  forceSync () { throw new Error('y-websocket has no forceSync; create it with resyncInterval') }
}
