#!/usr/bin/env bash
# Node 26.10.0: after `server.close()`, a connection that was waiting for its answer then is kept alive, and the requests that come
# on it later are served, too: with a client that asks again within five seconds, the server never ends by itself.
# Expected: the answer says "Connection: close", and the connection ends with it, now that close() ends idle connections.
# Seen: each answer after close() says "keep-alive"; 20 of 20 later requests are served. A proxy that keeps its connections makes a
# stop last until it is a SIGKILL. `server.closeIdleConnections()` after each answer would end it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-audit --no-fund --prefix "$work" node@26.10.0 >"$work/npm.log" 2>&1 || { cat "$work/npm.log"; exit 1; }
cat >"$work/serve.js" <<'JS'
const http = require('http')
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const server = http.createServer((_, response) => setTimeout(() => response.end(), 50))
const ask = (port) => new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port, agent }, (response) => {
        response.resume().on('end', () => resolve(response.headers.connection))
    }).on('error', reject)
})
server.listen(0, '127.0.0.1', async () => {
    const { port } = server.address()
    let state = 'not closed'
    server.once('request', () => server.close(() => { state = 'closed' }))
    const answers = [await ask(port)]
    for (let i = 0; i < 20; i++) {
        await pause(250)
        answers.push(await ask(port))
    }
    console.log(answers.filter((one) => one === 'keep-alive').length, state)
    process.exit()
})
JS
seen=$("$work/node_modules/.bin/node" "$work/serve.js")
echo "answers that say keep-alive, and the state of the server after them: $seen"
[ "$seen" = "21 not closed" ]
