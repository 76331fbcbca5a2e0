// node bulk.mjs SEED ROUNDS: as many genuine updates as one likes, one line of hex each,
// and an empty line after each group of writers.
import { Writers } from './writers.mjs'

const [seed, rounds] = process.argv.slice(2).map(Number)
for (let i = 0; i < rounds; i++) {
  const writers = new Writers(seed + i, 1 + i % 5).run(60)
  const lines = [...writers.updates, ...writers.derived(10)].map(update => Buffer.from(update).toString('hex'))
  process.stdout.write(lines.join('\n') + '\n\n')
}
