// Keeps pages alive and answers keys. Everything can be read without it.
"use strict";

const TIMEOUT_MS = 10000;

function value(data, path) {
  return path.split(".").reduce((found, name) => (found == null ? found : found[name]), data);
}

// Put values into the elements of one scope; lists and inner scopes are filled by their own.
function fill(scope, data) {
  const own = (selector) =>
    [scope, ...scope.querySelectorAll(selector)].filter(
      (each) => each.matches(selector) && owner(each, scope) === scope,
    );
  for (const each of own("[data-fill]")) set(each, value(data, each.dataset.fill));
  for (const each of own("[data-state-of]")) mark(each, "data-state", value(data, each.dataset.stateOf));
  for (const each of own("[data-line-of]")) mark(each, "data-line", value(data, each.dataset.lineOf));
  for (const each of own("[data-d]")) mark(each, "d", value(data, each.dataset.d));
  for (const each of own("[data-points-of]")) mark(each, "data-points", value(data, each.dataset.pointsOf));
  for (const each of own("[data-href]")) mark(each, "href", value(data, each.dataset.href));
  for (const each of scope.querySelectorAll("[data-each]")) {
    if (owner(each.parentElement, scope) === scope) repeat(each, value(data, each.dataset.each) || []);
  }
  for (const each of scope.querySelectorAll("[data-scope]")) {
    const inner = value(data, each.dataset.scope);
    if (inner && owner(each.parentElement, scope) === scope) {
      fill(each, inner);
      each.dispatchEvent(new Event("filled"));
    }
  }
}

// The nearest list or scope an element belongs to.
function owner(element, scope) {
  for (let each = element; each && each !== scope; each = each.parentElement) {
    if (each.matches("[data-each], [data-scope], [data-live]")) return each;
  }
  return scope;
}

function set(element, text) {
  const wanted = text == null ? "" : String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

function mark(element, name, text) {
  const wanted = text == null ? "" : String(text);
  // Addresses are our own pages only, whatever an answer may hold.
  if (name === "href" && !wanted.startsWith("/")) return;
  if (element.getAttribute(name) !== wanted) element.setAttribute(name, wanted);
}

function repeat(list, items) {
  const template = list.querySelector(":scope > template");
  const children = () => [...list.children].filter((each) => each !== template);
  for (const extra of children().slice(items.length)) extra.remove();
  while (children().length < items.length) list.append(template.content.firstElementChild.cloneNode(true));
  children().forEach((child, index) => fill(child, items[index]));
}

async function ask(url) {
  const answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (answer.status === 401) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.text || String(answer.status));
  return data;
}

// Call `step` again and again, but only while the page is seen and not paused.
function poll(every, step) {
  let timer = 0;
  let isPaused = false;
  let isBusy = false;
  const next = () => {
    clearTimeout(timer);
    if (!document.hidden && !isPaused) timer = setTimeout(run, every);
  };
  async function run() {
    if (isBusy) return;
    isBusy = true;
    try {
      if ((await step()) === false) isPaused = true;
    } finally {
      isBusy = false;
      next();
    }
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (!isPaused) run();
  });
  next();
  return (paused) => {
    isPaused = paused;
    if (paused) clearTimeout(timer);
    else run();
  };
}

function keepAlive(live) {
  const step = async () => {
    try {
      fill(live, await ask(live.dataset.live));
      live.dataset.polls = Number(live.dataset.polls || 0) + 1;
    } catch (error) {
      // Only the headline: what was seen last stays on the page.
      const headline = live.querySelector(".headline");
      if (headline) fill(headline, { headline: { state: "bad", text: live.dataset.lost, next: live.dataset.lostNext } });
    }
  };
  const pause = poll(Number(live.dataset.every), step);
  if (live.id !== "live") return;
  const button = document.getElementById("pause");
  button.hidden = false;
  button.addEventListener("click", () => {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isOn));
    button.textContent = isOn ? button.dataset.off : button.dataset.on;
    pause(isOn);
  });
}

// Show how far something has come; when it has ended, the page is asked for again.
function follow(part) {
  poll(1000, async () => {
    let data;
    try {
      data = await ask(part.dataset.progress);
    } catch (error) {
      return true;
    }
    fill(part, data);
    const bar = part.querySelector("progress");
    if (bar && data.total) {
      bar.max = data.total;
      bar.value = data.handled;
    }
    if (!data.is_running) location.replace(location.href);
    return data.is_running;
  });
}

// A chart tells its values to the pointer, to the arrow keys, and as a table.
function tellValues(figure) {
  const plot = figure.querySelector(".plot");
  const details = figure.querySelector(".values");
  const make = (name) => plot.appendChild(Object.assign(document.createElement("span"), { className: name }));
  const cursor = make("cursor");
  const readout = make("readout");
  let at = -1;
  let latest = "";
  const points = () => JSON.parse(plot.dataset.points || "[]");
  const names = () => [...figure.querySelectorAll(".key > span")].map((each) => each.textContent);
  const text = ([, when, values]) => [when, ...names().map((name, index) => `${name} ${values[index]}`)].join(" · ");
  const show = (index) => {
    const all = points();
    at = Math.max(-1, Math.min(all.length - 1, index));
    cursor.hidden = readout.hidden = at < 0;
    plot.setAttribute("aria-valuemax", String(Math.max(0, all.length - 1)));
    if (at < 0) return;
    const [x] = all[at];
    cursor.style.left = `${x * 100}%`;
    readout.style.left = x < 0.5 ? `${x * 100}%` : "auto";
    readout.style.right = x < 0.5 ? "auto" : `${(1 - x) * 100}%`;
    set(readout, text(all[at]));
    plot.setAttribute("aria-valuenow", String(at));
    plot.setAttribute("aria-valuetext", text(all[at]));
  };
  const table = () => {
    if (!details.open || latest === plot.dataset.points) return;
    latest = plot.dataset.points;
    const row = (cells, heads) => {
      const made = document.createElement("tr");
      cells.forEach((cell, index) => {
        const each = made.appendChild(document.createElement(index && !heads ? "td" : "th"));
        if (each.tagName === "TH") each.scope = heads ? "col" : "row";
        each.textContent = cell;
      });
      return made;
    };
    const head = details.querySelector("thead");
    head.replaceChildren(row([head.querySelector("th").textContent, ...names()], true));
    const rows = points().reverse().map(([, when, values]) => row([when, ...values], false));
    details.querySelector("tbody").replaceChildren(...rows);
  };
  plot.tabIndex = 0;
  plot.setAttribute("role", "slider");
  plot.setAttribute("aria-label", plot.dataset.called);
  plot.setAttribute("aria-valuemin", "0");
  plot.setAttribute("aria-valuenow", "0");
  show(-1);
  details.hidden = false;
  details.addEventListener("toggle", table);
  figure.addEventListener("filled", () => {
    show(at);
    table();
  });
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width;
    let nearest = -1;
    points().forEach(([each], index, all) => {
      if (nearest < 0 || Math.abs(each - x) < Math.abs(all[nearest][0] - x)) nearest = index;
    });
    show(nearest);
  });
  plot.addEventListener("pointerleave", () => plot === document.activeElement || show(-1));
  plot.addEventListener("focus", () => at < 0 && show(points().length - 1));
  plot.addEventListener("blur", () => show(-1));
  plot.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at + 12, PageDown: at - 12, Home: 0, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(Math.max(0, Math.min(points().length - 1, steps[event.key])));
  });
}

// Beside each time in UTC: how long ago that is, and what the clock of this machine's place says.
function tellTimes() {
  const tongue = document.documentElement.lang;
  const ago = new Intl.RelativeTimeFormat(tongue, { numeric: "always" });
  const local = new Intl.DateTimeFormat(tongue, { dateStyle: "short", timeStyle: "long" });
  const isUtc = new Date().getTimezoneOffset() === 0;
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  for (const each of document.querySelectorAll("time[datetime]")) {
    const at = Date.parse(each.dateTime);
    if (Number.isNaN(at)) continue;
    const seconds = (at - Date.now()) / 1000;
    const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) || units[3];
    const beside = each.nextElementSibling?.matches(".beside") ? each.nextElementSibling : document.createElement("span");
    beside.className = "note beside";
    const told = [ago.format(Math.round(seconds / size), unit), ...(isUtc ? [] : [local.format(at)])];
    set(beside, told.join(" · "));
    if (!beside.isConnected) each.after(" ", beside);
  }
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch (error) {
    // Beyond loopback over plain http there is no clipboard: the older way still works.
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    document.execCommand("copy");
  }
  const before = button.textContent;
  button.textContent = button.dataset.done;
  setTimeout(() => (button.textContent = before), 1500);
}

function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch (error) {
    return null;
  }
}

function keys() {
  const help = document.getElementById("shortcuts");
  const toggle = document.getElementById("shortcuts-on");
  if (!help) return;
  const pages = { o: "overview", d: "letters", a: "archive", r: "operations", s: "search" };
  let isGoing = false;
  toggle.checked = remembered("shortcuts") !== "off";
  toggle.addEventListener("change", () => {
    try {
      localStorage.setItem("shortcuts", toggle.checked ? "on" : "off");
    } catch (error) {
      // Not remembered, but it holds for this page.
    }
  });
  const row = (step) => {
    const rows = [...document.querySelectorAll("[data-rows] a.row")];
    const at = rows.indexOf(document.activeElement);
    const next = rows[Math.max(0, Math.min(rows.length - 1, at + step))];
    if (next) next.focus();
  };
  const search = () => {
    const field = document.querySelector("main input[name=key]");
    if (field) field.focus();
    else location.assign("/search");
  };
  const acts = {
    j: () => row(1),
    k: () => row(-1),
    "/": search,
    p: () => document.getElementById("pause")?.click(),
    "?": () => {
      help.open = !help.open;
      help.querySelector("summary").focus();
    },
  };
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input:not([type=checkbox]):not([type=radio]), select, textarea");
    if (!toggle.checked || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const wasGoing = isGoing;
    isGoing = !wasGoing && event.key === "g";
    const link = wasGoing && document.querySelector(`[data-nav="${pages[event.key]}"]`);
    const act = link ? () => link.click() : acts[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
}

for (const figure of document.querySelectorAll(".chart")) tellValues(figure);
tellTimes();
setInterval(() => document.hidden || tellTimes(), 30000);
for (const live of document.querySelectorAll("[data-live]")) keepAlive(live);
for (const part of document.querySelectorAll("[data-progress]")) follow(part);
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}
for (const all of document.querySelectorAll("[data-all]")) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const each of all.form.querySelectorAll("input[name=id]")) each.checked = all.checked;
  });
}
// Nothing chosen is nothing to do: the buttons wait for a choice and say how many letters that is.
for (const form of document.querySelectorAll("[data-choosing]")) {
  const count = () => {
    const chosen = form.querySelectorAll("input[name=id]:checked").length;
    form.querySelector("[data-chosen-count]").textContent = String(chosen);
    for (const each of form.querySelectorAll("button[name=action]")) each.disabled = !chosen;
  };
  form.addEventListener("change", count);
  count();
}
keys();
