#!/usr/bin/env node
// wasm-opt without the names of functions: worker-build asks for them, but they are an eighth of what is
// shipped, and a panic logs its place anyway. Used as WASM_OPT_BIN for release builds.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const binary = fileURLToPath(new URL('node_modules/binaryen/bin/wasm-opt', import.meta.url))
const args = process.argv.slice(2).filter((arg) => arg !== '--debuginfo')
const { status } = spawnSync(process.execPath, [binary, ...args], { stdio: 'inherit' })
process.exit(status ?? 1)
