// node-dtls-client as a driven peer: commands come on standard input, and each has its answer (see tests/interop/driven.py).
// Arguments: the folder with node_modules, and what is asked for as JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import * as readline from "node:readline";

const [folder, text] = process.argv.slice(2);
const wanted = JSON.parse(text);
const entry = createRequire(`${folder}/peer.js`).resolve("node-dtls-client");
const { dtls } = await import(pathToFileURL(entry));

let socket;
let answered;
const say = (line) => process.stdout.write(`${line}\n`);

// Its socket is bound once, and for good: the port is given up when the next session begins, without a word.
function connect(listenPort) {
  return new Promise((resolve, reject) => {
    socket = dtls.createSocket({
      type: "udp4",
      address: "127.0.0.1",
      port: Number(wanted.port),
      psk: { [wanted.identity]: Buffer.from(wanted.key, "hex") },
      timeout: 10000,
      listenPort,
      ...(wanted.suite ? { ciphers: [wanted.suite] } : {}),
    });
    socket.on("connected", () => resolve("connected"));
    socket.on("message", (data) => answered(`data ${data.toString("hex")}`));
    socket.on("error", reject);
  });
}

function exchange(hex) {
  return new Promise((resolve) => {
    answered = resolve;
    socket.send(Buffer.from(hex, "hex"));
  });
}

function again() {
  const { udp } = socket;
  const { port } = udp.address();
  udp.removeAllListeners();
  return new Promise((resolve) => udp.close(resolve)).then(() => connect(port));
}

const commands = { connect: () => connect(), exchange, again };
try {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [name, argument] = line.split(" ");
    say(await commands[name](argument));
  }
  await new Promise((resolve) => socket.close(resolve));
  process.exit(0);
} catch (error) {
  console.error(error);
  process.exit(1);
}
