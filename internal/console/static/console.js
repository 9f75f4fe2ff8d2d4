// What the pages do better with a script. Without it they work as well.
"use strict";

// Buttons that copy.
for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) break; // a page without TLS
  button.hidden = false;
  button.type = "button";
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent.trim();
    await navigator.clipboard.writeText(text);
    const label = button.textContent;
    button.textContent = "✓ " + label;
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}

// Times in the zone of the browser, unless the reader has chosen one. The cookie lets the server
// write the next page in this zone.
if (!document.documentElement.hasAttribute("data-zoned")) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone) {
    document.cookie = `speechgate_zone=${zone}; path=${document.body.dataset.base}; max-age=34560000; samesite=lax` + (location.protocol === "https:" ? "; secure" : "");
    for (const time of document.querySelectorAll("time[datetime]")) showTime(time, zone);
    for (const name of document.querySelectorAll("[data-zone-name]")) name.textContent = zone;
  }
}

function showTime(time, zone) {
  const parts = {};
  const form = new Intl.DateTimeFormat("en-CA", {
    timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "longOffset",
  });
  for (const part of form.formatToParts(new Date(time.dateTime))) parts[part.type] = part.value;
  const mark = document.createElement("span");
  mark.className = "zone";
  mark.textContent = parts.timeZoneName.replace("GMT", "UTC");
  time.replaceChildren(`${parts.year}-${parts.month}-${parts.day} ${parts.hour}:${parts.minute}${"seconds" in time.dataset ? ":" + parts.second : ""} `, mark);
}

// The form of a new key: typing a number or a date chooses it, and addresses are checked as one
// types.
const keyForm = document.querySelector("form[data-addresses]");
if (keyForm) {
  for (const [field, choice] of [["count", "by-period"], ["unit", "by-period"], ["date", "by-date"]]) {
    keyForm.elements[field].addEventListener("input", () => { document.getElementById(choice).checked = true; });
  }
  const allow = keyForm.elements.allow;
  const output = document.getElementById("allow-check");
  let timer, running;
  const check = async () => {
    running?.abort();
    running = new AbortController();
    try {
      const response = await fetch(keyForm.dataset.addresses, { method: "POST", body: new URLSearchParams({ allow: allow.value }), signal: running.signal });
      if (response.ok && !response.redirected) showBlocks(output, await response.json());
    } catch (error) {
      if (error.name !== "AbortError") output.replaceChildren();
    }
  };
  allow.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(check, 300); });
  for (const button of keyForm.querySelectorAll("[data-allow]")) {
    button.addEventListener("click", (event) => {
      event.preventDefault();
      const lines = allow.value.split("\n").map((line) => line.trim()).filter(Boolean);
      if (!lines.includes(button.dataset.allow)) lines.push(button.dataset.allow);
      allow.value = lines.join("\n");
      check();
    });
  }
  if (allow.value) check();
}

function showBlocks(output, answer) {
  const parts = [];
  const add = (tag, className, text) => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    parts.push(element);
    return element;
  };
  if (answer.problem) add("p", "notice bad", answer.problem).lang = "en";
  for (const block of answer.blocks) {
    const range = block.first === block.last ? "" : `${block.first} – ${block.last}, `;
    const line = add("p", "line", "");
    const entry = document.createElement("code");
    entry.textContent = block.entry;
    line.append(entry);
    if (block.bits > 0 && block.bits < block.of) {
      const meter = document.createElement("meter");
      meter.max = block.of;
      meter.value = block.bits;
      meter.setAttribute("aria-label", `/${block.bits}`);
      line.append(meter);
    }
    const rest = document.createElement("span");
    rest.className = "quiet";
    rest.textContent = range + block.count;
    line.append(rest);
  }
  if (answer.text) add("p", "notice warn", answer.text);
  output.replaceChildren(...parts);
}
