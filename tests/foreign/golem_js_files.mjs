// golem-js rents two nodes of a private network, copies files to them and back, lets them talk, and reaches a
// server on one of them.
//
//     golem_js_files.mjs IMAGE_HASH IMAGE_URL

import { randomBytes } from "node:crypto";
import fs from "node:fs/promises";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";

const [imageHash, imageUrl] = process.argv.slice(2);
const require = createRequire(path.join(process.env.GOLEM_JS_HOME, "package.json"));
const { GolemNetwork } = require("@golem-sdk/golem-js");

const PORT = 7777;
const directory = await fs.mkdtemp(path.join(os.tmpdir(), "golem-js-"));
const local = (name) => path.join(directory, name);
const golem = new GolemNetwork({ payment: { driver: "erc20", network: "hoodi" } });

// What a command has written, if it went well.
const said = (result) => {
  if (result.result !== "Ok") throw new Error(`${result.message}: ${result.stderr}`);
  return String(result.stdout).trim();
};

try {
  await golem.connect();
  const network = await golem.createNetwork({ ip: "192.168.7.0/24" });
  const order = {
    demand: { workload: { imageHash, imageUrl, capabilities: ["vpn"] } },
    market: {
      rentHours: 0.5,
      pricing: { model: "linear", maxStartPrice: 1, maxCpuPerHourPrice: 1, maxEnvPerHourPrice: 1 },
    },
    network,
  };
  const rentals = [await golem.oneOf({ order }), await golem.oneOf({ order })];
  const [one, two] = await Promise.all(rentals.map((rental) => rental.getExeUnit()));

  // Larger than what is sent at once, and no multiple of it.
  const content = randomBytes(300_001);
  await fs.writeFile(local("up"), content);
  await one.uploadFile(local("up"), "/golem/input/file");
  await one.downloadFile("/golem/input/file", local("down"));
  console.log("FILE", content.equals(await fs.readFile(local("down"))));
  await one.uploadData(new Uint8Array(content), "/golem/work/data");
  const { data } = await one.downloadData("/golem/work/data");
  console.log("DATA", content.equals(Buffer.from(data)));
  console.log("SIZE", said(await one.run("wc -c < /golem/work/data")));
  console.log("FAILS", (await one.run("exit 7")).result);

  await two.uploadJson({ greeting: "hello" }, "/golem/work/greeting.json");
  const serve = `python3 -m http.server ${PORT} --bind ${two.getIp()} --directory /golem/work`;
  said(await two.run(`${serve} >/dev/null 2>&1 &`));
  // From the other node, as soon as it listens.
  const url = `http://${two.getIp()}:${PORT}/greeting.json`;
  const fetch_ = `import time, urllib.request
for _ in range(100):
    try:
        print(urllib.request.urlopen("${url}").read().decode())
        break
    except OSError:
        time.sleep(0.1)`;
  console.log("NODE", said(await one.run("/usr/bin/env", ["python3", "-c", fetch_])));

  // And from here.
  const proxy = two.createTcpProxy(PORT);
  await proxy.listen(0).catch(() => {});
  const here = proxy.server.address().port;
  console.log("PROXY", (await (await fetch(`http://127.0.0.1:${here}/greeting.json`)).text()).trim());
  await proxy.close();

  await Promise.all(rentals.map((rental) => rental.stopAndFinalize(60_000)));
  await golem.destroyNetwork(network);
} finally {
  await golem.disconnect();
  await fs.rm(directory, { recursive: true });
}
