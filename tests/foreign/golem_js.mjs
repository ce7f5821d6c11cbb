// golem-js rents a node, runs `echo`, and accepts the bill.
//
//     golem_js.mjs IMAGE_HASH IMAGE_URL [stream]

import { createRequire } from "node:module";
import path from "node:path";

const [imageHash, imageUrl, mode] = process.argv.slice(2);
const require = createRequire(path.join(process.env.GOLEM_JS_HOME, "package.json"));
const { GolemNetwork, NullStorageProvider } = require("@golem-sdk/golem-js");

const golem = new GolemNetwork({
  payment: { driver: "erc20", network: "hoodi" },
  dataTransferProtocol: new NullStorageProvider(),
});
try {
  await golem.connect();
  const rental = await golem.oneOf({
    order: {
      demand: { workload: { imageHash, imageUrl } },
      market: {
        rentHours: 0.5,
        pricing: { model: "linear", maxStartPrice: 1, maxCpuPerHourPrice: 1, maxEnvPerHourPrice: 1 },
      },
    },
  });
  const unit = await rental.getExeUnit();
  if (mode === "stream") {
    const running = await unit.runAndStream("/bin/echo", ["hello", "from", "golem-js"]);
    let text = "";
    running.stdout.subscribe((part) => (text += part));
    await running.waitForExit(30_000);
    console.log("STDOUT", text.trim());
  } else {
    const result = await unit.run("/bin/echo", ["hello", "from", "golem-js"]);
    console.log("STDOUT", String(result.stdout).trim());
  }
  await rental.stopAndFinalize(60_000);
} finally {
  await golem.disconnect();
}
