// What a page cannot do by itself: copy, count down, look at a key while it is typed, and change as
// things do. Without this, every page still works.
"use strict";
const said = document.body.dataset;
const say = (text) => { document.getElementById("said").textContent = text; };

// Copy buttons.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    getSelection().selectAllChildren(source);
    if (!document.execCommand("copy")) return;
    getSelection().removeAllRanges();
  }
  const before = button.textContent;
  button.textContent = said.copied;
  say(said.copied);
  setTimeout(() => { button.textContent = before; }, 1500);
});

// Times, in the reader's zone; spans, by the second.
const language = document.documentElement.lang;
const clock = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const two = (number) => String(number).padStart(2, "0");
function countdown(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const days = Math.floor(seconds / 86400);
  const rest = seconds % 86400;
  const time = [Math.floor(rest / 3600), Math.floor(rest / 60) % 60, rest % 60].map(two).join(":");
  return days ? `${days} ${said.day} ${time}` : time;
}
function ago(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (seconds >= length) return relative.format(-Math.floor(seconds / length), unit);
  }
  return relative.format(-seconds, "second");
}
function tell(root) {
  for (const time of root.querySelectorAll("time")) {
    const at = Date.parse(time.dateTime);
    const now = Date.now();
    let text;
    if ("left" in time.dataset) text = at > now ? countdown(at - now) : said.ended;
    else if ("since" in time.dataset) text = countdown(Math.max(0, now - at));
    else if ("ago" in time.dataset) text = ago(now - at);
    else text = clock.format(at);
    if (time.textContent !== text) time.textContent = text;
  }
}
function ready(root) {
  tell(root);
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
}
ready(document);
setInterval(() => tell(document), 1000);

// Pieces of the page that change.
function settle(piece) {
  piece.classList.remove("changed");
  if (!piece.classList.length) piece.removeAttribute("class");
}
// A piece without what rises all the time: more bytes alone are no news.
function still(piece) {
  const copy = piece.cloneNode(true);
  for (const count of copy.querySelectorAll(".moved")) count.remove();
  return copy;
}
function swap(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content.firstElementChild;
  const old = fresh && document.getElementById(fresh.id);
  if (!old) return;
  for (const open of old.querySelectorAll("details[open][id]")) {
    const twin = fresh.querySelector(`#${CSS.escape(open.id)}`);
    if (twin) twin.open = true;
  }
  for (const chosen of old.querySelectorAll("input:checked[id]")) {
    const twin = fresh.querySelector(`#${CSS.escape(chosen.id)}`);
    if (twin) twin.checked = true;
  }
  ready(fresh);
  tell(old);
  settle(old);
  if (old.isEqualNode(fresh)) return;
  const news = !still(old).isEqualNode(still(fresh));
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const path = [];
  for (let node = focused; node && node !== old; node = node.parentElement) {
    path.unshift([...node.parentElement.children].indexOf(node));
  }
  old.replaceWith(fresh);
  if (focused) {
    const named = focused.id && document.getElementById(focused.id);
    const placed = path.reduce((node, index) => node && node.children[index], fresh);
    (named || placed)?.focus({ preventScroll: true });
  }
  if (!news) return;
  fresh.classList.add("changed");
  setTimeout(() => settle(fresh), 1600);
}
let stream = null;
function follow() {
  if (!said.live) return;
  if (document.hidden) {
    stream?.close();
    stream = null;
  } else if (!stream) {
    stream = new EventSource(said.live);
    stream.onopen = () => { pause = 5000; };
    stream.onmessage = (event) => swap(event.data);
    stream.onerror = () => { if (stream?.readyState === EventSource.CLOSED) refused(); };
  }
}
// A stream that was refused: there are too many, or the API restarts. If the session has ended, or the box is gone,
// the page itself says so, unless somebody is typing into it: then what they send is answered.
let pause = 5000;
function refused() {
  stream = null;
  setTimeout(async () => {
    const page = await fetch(location.pathname + location.search, { method: "HEAD" }).catch(() => null);
    const typed = [...document.querySelectorAll("input, textarea")].some((field) => field.value !== field.defaultValue);
    if (page && (page.redirected || page.status === 404) && !typed) location.assign(location.pathname + location.search);
    else follow();
  }, pause);
  pause = Math.min(2 * pause, 300000);
}
document.addEventListener("visibilitychange", follow);
addEventListener("pagehide", () => { stream?.close(); stream = null; });
addEventListener("pageshow", follow);
follow();

// A key, while it is typed. A private one stays here.
const PRIVATE = /PRIVATE KEY|PuTTY-User-Key-File|Private-Lines|b3BlbnNzaC1rZXktdjE/i;
for (const field of document.querySelectorAll("[data-key]")) {
  const answer = document.getElementById("key-said");
  let turn = 0;
  const look = async () => {
    const mine = ++turn;
    const isPrivate = PRIVATE.test(field.value);
    field.setCustomValidity(isPrivate ? said.private : "");
    answer.className = isPrivate ? "wrong" : "";
    if (isPrivate || !field.value.trim()) {
      answer.textContent = isPrivate ? said.private : "";
      return;
    }
    await new Promise((resume) => setTimeout(resume, 250));
    if (mine !== turn) return;
    const body = new URLSearchParams({ key: field.value });
    const response = await fetch(field.dataset.key, { method: "POST", body });
    if (mine === turn && response.ok) answer.innerHTML = await response.text();
  };
  field.addEventListener("input", look);
  if (field.value) look();
}
for (const label of document.querySelectorAll("[data-file]")) {
  label.hidden = false;
  const field = document.getElementById(label.dataset.file);
  label.querySelector("input").addEventListener("change", async (event) => {
    const file = event.target.files[0];
    if (!file) return;
    const text = file.size > 65536 ? "" : await file.text();
    // Not even into the form: what is in the form can be sent.
    if (PRIVATE.test(text)) {
      const answer = document.getElementById("key-said");
      answer.className = "wrong";
      answer.textContent = said.private;
      event.target.value = "";
      return;
    }
    field.value = text.trim();
    field.dispatchEvent(new Event("input"));
  });
}

// The reader's own time zone.
for (const select of document.querySelectorAll("[data-zone]")) {
  const fields = [...select.parentElement.querySelectorAll("[type=datetime-local]")];
  const east = (date) => String(-date.getTimezoneOffset());
  const choose = (date) => { if ([...select.options].some((option) => option.value === east(date))) select.value = east(date); };
  const local = (date) => new Date(date.getTime() + Number(select.value) * 60000).toISOString().slice(0, 16);
  const given = fields.filter((field) => field.dataset.moment);
  choose(given.length ? new Date(given[0].dataset.moment) : new Date());
  for (const field of given) field.value = local(new Date(field.dataset.moment));
  if (fields.length > 1) continue;
  fields[0].addEventListener("change", () => { if (fields[0].value) choose(new Date(fields[0].value)); });
}

// An invitation: what stands behind the # is read here, and goes with the form.
for (const form of document.querySelectorAll("[data-invitation]")) {
  const token = location.hash.slice(1);
  if (!token) continue;
  form.elements.token.value = token;
  document.getElementById("token-field").hidden = true;
  history.replaceState(null, "", location.pathname);
  fetch(form.dataset.invitation, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
  }).then(async (response) => {
    if (!response.ok) return;
    const invited = await response.json();
    if (invited.name) {
      const line = document.getElementById("invited");
      line.textContent = `${line.dataset.for} ${invited.name}`;
      document.getElementById("name-field").hidden = true;
    } else {
      form.elements.name.required = true;
    }
  });
}

// What was shown this once is not asked for again by a reload.
if (location.pathname === "/console/boxes" && said.live) {
  history.replaceState(null, "", said.live.replace(/\/live.*/, ""));
}
// A link to a piece of the page opens it.
const target = location.hash && document.getElementById(location.hash.slice(1));
if (target instanceof HTMLDetailsElement) target.open = true;
