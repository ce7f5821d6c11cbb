// The page: it asks for everything once, follows the stream of changes, and shows what it knows. It only
// looks; nothing is changed from here. Whatever comes from outside, such as the name that a provider gave
// itself, becomes text and never markup.
"use strict";

const STORED = "ray-on-golem-token";
const DECIMALS = 18;
const SHOWN_DECIMALS = 4;
const DRAW_EVERY = 200;
const RETRY_AFTER = 2_000;
const LOOK_EVERY = 15_000;

/** The clusters by number: `{ summary, nodes, card }`; the nodes by id: `{ data, row }`. */
const clusters = new Map();
/** The webserver as it describes itself. */
let server = null;
let isDrawing = false;

const at = (id) => document.getElementById(id);

/** An element with a class and with text or elements in it. */
function make(tag, kind, ...inside) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...inside);
  return element;
}

/** An amount of GLM as a whole number of its smallest part. */
function atto(text) {
  const [whole, fraction = ""] = (text ?? "0").split(".");
  return BigInt(whole + fraction.padEnd(DECIMALS, "0").slice(0, DECIMALS));
}

/** An amount with few decimals, rounded up. */
function shown(amount) {
  const step = 10n ** BigInt(DECIMALS - SHOWN_DECIMALS);
  const rounded = (amount + step - 1n) / step;
  const digits = rounded.toString().padStart(SHOWN_DECIMALS + 1, "0");
  return `${digits.slice(0, -SHOWN_DECIMALS)}.${digits.slice(-SHOWN_DECIMALS)}`;
}

/** An amount in a cell; the mouse shows it to the last digit. */
function money(text) {
  if (text === null || text === undefined) return "–";
  const element = make("span", "", shown(atto(text)));
  element.title = `${text} GLM`;
  return element;
}

function instant(text) {
  if (!text) return "–";
  const element = make("time", "", new Date(text).toLocaleString());
  element.dateTime = text;
  return element;
}

function state(name) {
  return make("span", `state ${name}`, name);
}

/** Asks the server without the token; an answer that is no success is an error with its status. */
async function askOpenly(path, options = {}) {
  const answer = await fetch(path, { ...options, cache: "no-store" });
  if (!answer.ok) throw Object.assign(new Error(`${answer.status}`), { status: answer.status });
  return answer;
}

/** Asks the server, once it has shown that it is ours. */
async function ask(path) {
  const token = sessionStorage.getItem(STORED);
  if (token) await prove(token);
  return askOpenly(path, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
}

/**
 * Has the server show that it knows the token, before that is sent: when ours has ended, another program may listen in
 * its place. See `src/server/proof.rs`.
 */
async function prove(token) {
  const bytes = (text) => new TextEncoder().encode(text);
  const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", bytes(token), algorithm, false, ["sign"]);
  const sign = async (text) => hex(await crypto.subtle.sign("HMAC", key, bytes(text)));
  const challenge = hex(crypto.getRandomValues(new Uint8Array(32)));
  const body = JSON.stringify({ mark: await sign("ray-on-golem mark"), challenge });
  const answer = await (await askOpenly("/prove", { method: "POST", body })).json();
  const place = `users of port ${location.port || 80}`;
  if (answer.proof !== (await sign(`ray-on-golem proof, ${place}, ${challenge}`))) {
    throw new Error("what listens here is not our webserver");
  }
}

async function lookAtServer() {
  const answer = await askOpenly("/");
  server = await answer.json();
  draw();
}

/** Asks for everything, the clusters that are closed included. */
async function lookAtAll() {
  const answer = await ask("/status");
  const overview = await answer.json();
  server = overview.webserver;
  const there = new Set(overview.clusters.map((cluster) => cluster.number));
  for (const [number, cluster] of clusters) {
    if (!there.has(number)) {
      cluster.card?.remove();
      clusters.delete(number);
    }
  }
  for (const { nodes, ...summary } of overview.clusters) {
    hearOfCluster(summary);
    for (const node of nodes) hearOfNode(summary.number, node);
  }
  draw();
}

/** What is due grows while nothing else changes; what else there is comes as it changes. */
async function lookAtDue() {
  const overview = await (await ask("/status")).json();
  for (const { number, due_glm } of overview.clusters) {
    const known = clusters.get(number);
    if (known) known.summary = { ...known.summary, due_glm };
  }
  draw();
}

function hearOfCluster(summary) {
  const known = clusters.get(summary.number) ?? { nodes: new Map(), card: null };
  clusters.set(summary.number, { ...known, summary });
}

function hearOfNode(number, data) {
  clusters.get(number)?.nodes.set(data.node_id, { data, row: null });
}

/** Follows the stream of changes to its end. */
async function follow() {
  const answer = await ask("/events");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    events.forEach(hear);
    draw();
  }
}

/** Takes one event in; comments, which keep the connection alive, have no name. */
function hear(event) {
  const field = (name) => event.match(new RegExp(`^${name}: ?(.*)$`, "m"))?.[1];
  const data = field("data") && JSON.parse(field("data"));
  switch (field("event")) {
    case "cluster":
      return hearOfCluster(data);
    case "node":
      return hearOfNode(data.number, data.node);
    case "cluster_over": {
      const over = clusters.get(data.number);
      if (over) over.summary = { ...over.summary, state: "closed" };
      return;
    }
    case "shutting_down":
      server = { ...server, shutting_down: true };
  }
}

/** Draws soon; what changes together is drawn together. */
function draw() {
  if (isDrawing) return;
  isDrawing = true;
  setTimeout(() => {
    isDrawing = false;
    drawAll();
  }, DRAW_EVERY);
}

function drawAll() {
  const all = [...clusters.values()].sort((a, b) => b.summary.number - a.summary.number);
  at("version").textContent = server?.version ?? "";
  if (server?.datadir) at("token-file").textContent = `${server.datadir}/webserver.token`;
  if (server?.shutting_down) say("ending", "shutting down");
  drawWarnings(server?.server_warnings ?? []);
  drawTotals(all);
  all.forEach(drawCluster);
  const cards = all.map((cluster) => cluster.card);
  if (cards.some((card, nth) => at("clusters").children[nth] !== card)) {
    at("clusters").replaceChildren(...cards);
  }
  at("empty").hidden = all.length > 0 || !at("ask").hidden;
}

function drawWarnings(warnings) {
  const list = at("warnings").querySelector("ul");
  const said = [...list.children].map((item) => item.textContent);
  at("warnings").hidden = warnings.length === 0;
  // What is already there is not read out again.
  if (said.join("\n") === warnings.join("\n")) return;
  list.replaceChildren(...warnings.map((warning) => make("li", "", warning)));
}

function drawTotals(all) {
  const open = all.filter(({ summary }) => summary.state !== "closed");
  const sum = (key) => open.reduce((total, { summary }) => total + atto(summary[key]), 0n);
  const running = open.reduce((total, { summary }) => total + (summary.nodes_by_state.running ?? 0), 0);
  at("totals").hidden = open.length === 0;
  at("total-nodes").textContent = running;
  const keys = { spent: "spent_glm", due: "due_glm", reserved: "reserved_glm", rate: "glm_per_hour" };
  for (const [id, key] of Object.entries(keys)) {
    at(`total-${id}`).textContent = `${shown(sum(key))} GLM`;
  }
}

/** The card of a cluster; it stays the same element, so that what a reader has opened stays open. */
function drawCluster(cluster) {
  const { summary, nodes } = cluster;
  cluster.card ??= newCard();
  const part = (name) => cluster.card.querySelector(`.${name}`);
  part("title").replaceChildren(
    make("h2", "", summary.cluster_name),
    state(summary.state),
    make("span", "faint", summary.ending_reason ?? ""),
    make("span", "faint", summary.payment_platform),
  );
  drawBar(part("bar"), summary);
  const facts = [
    ["spent", money(summary.spent_glm)],
    ["due at most", money(summary.due_glm)],
    ["set aside", money(summary.reserved_glm)],
    ["budget", money(summary.budget_glm)],
    ["at most in an hour", money(summary.glm_per_hour)],
    ["lasts until", instant(summary.lasts_until)],
    ["began", instant(summary.started_at)],
  ];
  if (summary.disputed_bills > 0) facts.push(["bills that were not paid", `${summary.disputed_bills}`]);
  part("facts").replaceChildren(
    ...facts.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", value))),
  );
  const byNumber = (a, b) => a.data.node_id.localeCompare(b.data.node_id, undefined, { numeric: true });
  const live = [...nodes.values()].filter(({ data }) => data.state !== "terminated").sort(byNumber);
  const over = [...nodes.values()].filter(({ data }) => data.state === "terminated").sort(byNumber);
  fill(part("live"), live);
  fill(part("gone").querySelector("tbody"), over);
  part("gone").hidden = over.length === 0;
  part("gone").querySelector("summary").textContent = `${over.length} ended`;
}

function newCard() {
  const heads = ["node", "kind", "state", "provider", "address", "GLM/h", "spent", "since", "latest"];
  const table = (body) => {
    const row = make("tr", "", ...heads.map((head) => make("th", /GLM|spent/.test(head) ? "amount" : "", head)));
    return make("div", "scroll", make("table", "", make("thead", "", row), body));
  };
  const gone = make("details", "gone", make("summary"), table(make("tbody", "over")));
  return make(
    "article", "",
    make("div", "title"), make("div", "bar"), make("dl", "facts"), table(make("tbody", "live")), gone,
  );
}

function drawBar(bar, summary) {
  const [spent, reserved, budget] = ["spent_glm", "reserved_glm", "budget_glm"].map((key) => atto(summary[key]));
  const percent = (part) => (budget > 0n ? Math.min(100, Number((part * 1000n) / budget) / 10) : 0);
  const piece = (kind, part) => {
    const element = make("span", kind);
    element.style.width = `${percent(part)}%`;
    return element;
  };
  bar.classList.toggle("scarce", percent(spent) >= 80);
  bar.role = "img";
  bar.ariaLabel = `${shown(spent)} GLM spent and ${shown(reserved)} GLM set aside of ${shown(budget)} GLM`;
  bar.replaceChildren(piece("spent", spent), piece("reserved", reserved));
}

/** Puts the rows of nodes into a table; rows of nodes that have not changed are left alone. */
function fill(body, nodes) {
  for (const node of nodes) node.row ??= row(node.data);
  const rows = nodes.map((node) => node.row);
  if (rows.length !== body.children.length || rows.some((row, nth) => body.children[nth] !== row)) {
    body.replaceChildren(...rows);
  }
}

function row(node) {
  const provider = make("span", "", node.provider_name ?? "–");
  provider.title = node.provider_id ?? "";
  const latest = node.waiting ? `waits: ${node.waiting.sentence}` : (node.state_log.at(-1) ?? "");
  const log = make("ol", "log", ...node.state_log.map((line) => make("li", "", line)));
  const story = node.state_log.length > 1 ? make("details", "", make("summary", "", latest), log) : latest;
  const address = make("span", "", node.internal_ip ?? "–");
  if (node.state === "running" && !node.is_reached_by_ssh) address.append(" (no ssh)");
  const cells = [
    [node.node_id], [node.kind], [state(node.state)], [provider], [address],
    [money(node.glm_per_hour), "amount"], [money(node.spent_glm), "amount"], [instant(node.requested_at)], [story],
  ];
  return make("tr", "", ...cells.map(([value, kind]) => make("td", kind, value)));
}

function say(state, words) {
  at("link").dataset.state = state;
  at("link").textContent = words;
}

/** Waits for the user to give the token. */
function tokenGiven() {
  at("ask").hidden = false;
  say("away", "waits for the token");
  draw();
  return new Promise((resolve) => {
    at("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(STORED, at("token").value.trim());
      at("token").value = "";
      at("ask").hidden = true;
      resolve();
    }, { once: true });
  });
}

/** Takes the token out of the address, where it would be copied and remembered. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  sessionStorage.setItem(STORED, token);
  history.replaceState(null, "", location.pathname);
}

async function live() {
  takeToken();
  addEventListener("hashchange", takeToken);
  setInterval(() => lookAtServer().catch(() => {}), LOOK_EVERY);
  for (;;) {
    try {
      await lookAtServer();
      await lookAtAll();
      say("live", "live");
      const looking = setInterval(() => lookAtDue().catch(() => {}), LOOK_EVERY);
      await follow().finally(() => clearInterval(looking));
      say("away", "the webserver has ended");
    } catch (error) {
      if (error.status === 401) {
        await tokenGiven();
        continue;
      }
      say("away", "the webserver does not answer");
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_AFTER));
  }
}

live();
