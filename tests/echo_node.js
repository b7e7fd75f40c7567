// Writes what node's http module has read of each request as lines of JSON; for the differential tests:
// one when its head is there, without a body, and one when all is.
"use strict";
const fs = require("fs");
const http = require("http");
const file = fs.openSync(process.argv[3], "a");
const server = http.createServer((request, response) => {
  const pieces = [];
  fs.writeSync(file, JSON.stringify([request.method, request.url, null, []]) + "\n");
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const fields = [];
    for (let n = 0; n < request.rawHeaders.length; n += 2)
      fields.push([request.rawHeaders[n].toLowerCase(), request.rawHeaders[n + 1]]);
    const said = [request.method, request.url, Buffer.concat(pieces).toString("latin1"), fields];
    fs.writeSync(file, JSON.stringify(said) + "\n");
    response.end(`${request.method} ${request.url}`);
  });
});
server.keepAliveTimeout = 60000;
server.listen(Number(process.argv[2]), "127.0.0.1");
