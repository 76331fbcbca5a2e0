// Every published client under test, loaded side by side on ONE copy of Yjs.
//
// Everything is loaded as CommonJS: y-websocket 1.5 ships its ES modules in a package that does not say
// so, and mixing both module kinds would load Yjs twice, which breaks its constructor checks.
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

// Yjs reports a second copy of itself on console.error and carries on; here that is a broken harness.
const reportError = console.error
console.error = (...args) => {
  if (String(args[0]).startsWith('Yjs was already imported')) throw new Error(args[0])
  reportError(...args)
}

export const Y = require('yjs')
export const { Awareness } = require('y-protocols/awareness')
export const WebSocket = require('ws').WebSocket

// y-websocket reads WebSocket.OPEN from the global when resyncInterval is used, polyfill or not.
globalThis.WebSocket = WebSocket

const yWebsocket = (alias) => ({ kind: 'y-websocket', ...require(alias) })
const hocuspocus = (alias) => ({ kind: 'hocuspocus', ...require(alias) })

export const libraries = {
  'y-websocket@1.5.4': yWebsocket('y-websocket-1.5'),
  'y-websocket@2.1.0': yWebsocket('y-websocket-2.1'),
  'y-websocket@3.0.0': yWebsocket('y-websocket-3.0'),
  'y-websocket@3.1.0': yWebsocket('y-websocket-3.1'),
  'hocuspocus@2.15.3': hocuspocus('hocuspocus-provider-2'),
  'hocuspocus@3.4.4': hocuspocus('hocuspocus-provider-3'),
  'hocuspocus@4.8.0': hocuspocus('hocuspocus-provider-4')
}

/** Files of Yjs itself that are loaded; one when every library shares it. */
export const copiesOfYjs = () => Object.keys(require.cache).filter((path) => /[/\\]yjs\.cjs$/.test(path))
