// Waiting for replicas by their events, with a deadline.
import { isDeepStrictEqual } from 'node:util'
import { Y } from './libraries.mjs'

/** Resolves once `holds()` is true; looks again whenever one of `clients` changes. */
export const until = (clients, holds, deadline, describe) => new Promise((resolve, reject) => {
  const finish = (settle) => {
    clearTimeout(timer)
    for (const client of clients) client.waiters.delete(look)
    settle()
  }
  const look = () => {
    try {
      if (holds()) finish(resolve)
    } catch (error) {
      finish(() => reject(error))
    }
  }
  const timer = setTimeout(() => finish(() => reject(new Error(describe()))), deadline - Date.now())
  for (const client of clients) client.waiters.add(look)
  look()
})

export const untilHolds = (client, condition, deadline) => until(
  [client],
  () => client.holds(condition),
  deadline,
  () => `still not ${JSON.stringify(condition)}: ${client.describe()}`
)

const settled = ({ doc }) => doc.store.pendingStructs === null && doc.store.pendingDs === null

/** The same items, the same deletions, nothing waiting for a missing part, and the same visible content. */
const sameDocument = (a, b) => settled(a) && settled(b) &&
  Y.equalSnapshots(Y.snapshot(a.doc), Y.snapshot(b.doc)) &&
  a.text.toString() === b.text.toString() &&
  isDeepStrictEqual(a.map.toJSON(), b.map.toJSON())

export const untilConverged = (clients, deadline) => until(
  clients,
  () => clients.every((client) => sameDocument(clients[0], client)),
  deadline,
  () => `still not the same document:\n${clients.map((client) => client.describe()).join('\n')}`
)
