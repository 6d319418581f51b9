// Serves index.html and the client at an origin of their own, with the address of the API filled in.
//
//     CORS_ORIGINS=http://localhost:5173 make run      # the API, which allows this origin
//     node examples/web/serve.mjs                      # in another shell; then open the printed address
//
// PROXY_GPT_URL is the API (http://localhost:8080), PORT the port here (5173). PROXY_GPT_TOKEN is not read: what a
// page has, every visitor has, so each visitor signs up for a token. In production any web server serves both files.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const api = new URL(process.env.PROXY_GPT_URL || "http://localhost:8080").href;
const port = Number(process.env.PORT || 5173);
const client = new URL("../../clients/js/proxy-gpt.js", import.meta.url);
const files = new Map([
  ["/", [new URL("index.html", import.meta.url), "text/html"]],
  ["/proxy-gpt.js", [client, "text/javascript"]],
]);

const server = createServer(async (request, response) => {
  const file = files.get(request.url);
  if (!file) {
    response.writeHead(404).end();
    return;
  }
  const text = await readFile(file[0], "utf8");
  response.writeHead(200, { "Content-Type": `${file[1]}; charset=utf-8`, "Cache-Control": "no-cache" });
  response.end(text.replace('content="http://localhost:8080"', () => `content="${api}"`));
});

server.listen(port, "localhost", () => {
  const origin = `http://localhost:${server.address().port}`;
  console.log(`The page is at ${origin}/ and calls ${api}, which needs CORS_ORIGINS=${origin}.`);
});
