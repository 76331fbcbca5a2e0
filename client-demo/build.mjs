// Builds the page into ../server/page, which is committed: whoever runs the server needs no Node.
//   node build.mjs            writes the files
//   node build.mjs --check    writes nothing and fails if the committed files are not what would be written

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "server", "page");

const built = await build({
  absWorkingDir: here,
  entryPoints: { page: "src/main.ts", "page.style": "src/page.css" },
  outdir: target,
  bundle: true,
  format: "iife",
  legalComments: "none", // licenses.txt holds them all
  metafile: true,
  minify: true,
  target: "es2022",
  write: false,
});

const files = new Map([
  ["index.html", readFileSync(join(here, "src/index.html"), "utf8")],
  ["page.js", built.outputFiles.find((file) => file.path.endsWith("page.js")).text],
  ["page.css", built.outputFiles.find((file) => file.path.endsWith("page.style.css")).text],
  ["licenses.txt", licenses(Object.keys(built.metafile.inputs))],
]);

if (process.argv.includes("--check")) {
  const stale = [...files].filter(([name, text]) => committed(name) !== text).map(([name]) => name);
  const strange = readdirSync(target).filter((name) => !files.has(name));
  if (stale.length + strange.length > 0) {
    console.error(`server/page is not what client-demo builds: ${[...stale, ...strange].join(", ")}. Run: npm run build`);
    process.exit(1);
  }
  console.log("server/page is what client-demo builds");
} else {
  mkdirSync(target, { recursive: true });
  for (const [name, text] of files) writeFileSync(join(target, name), text);
  for (const [name, text] of files) console.log(`${String(Buffer.byteLength(text)).padStart(8)}  server/page/${name}`);
}

function committed(name) {
  try {
    return readFileSync(join(target, name), "utf8");
  } catch {
    return null;
  }
}

/** The license of each package that has code in the bundle, as those licenses ask. */
function licenses(inputs) {
  const packages = new Set(inputs.flatMap((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1] ?? []));
  const texts = [...packages].sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const license = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file));
    if (license === undefined) throw new Error(`${name} carries no license file`);
    return `${name} ${version}\n\n${readFileSync(join(folder, license), "utf8").trim()}\n`;
  });
  return `page.js contains code of these packages.\n\n${texts.join("\n----\n\n")}`;
}
