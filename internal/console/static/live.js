// Refusals as they happen: the server sends them, and the page puts each at the top of the table.
// Without a script the page has the last refusals, and its form shows newer ones.
"use strict";

{
  const live = document.getElementById("live");
  const body = live.querySelector("tbody");
  const state = document.getElementById("live-state");
  const pause = document.getElementById("live-pause");
  const missed = document.getElementById("live-missed");
  const most = 200;
  let paused = false, waiting = [], broken; // broken is the timer of a connection that is lost

  // A cell has plain text, code if href is empty, or a link.
  const cell = (row, tag, text, href) => {
    const element = document.createElement(tag);
    if (tag === "th") element.scope = "row";
    const code = document.createElement("code");
    code.textContent = text;
    if (!text) element.textContent = "–";
    else if (href === undefined) element.textContent = text;
    else if (href === "") element.append(code);
    else {
      const link = document.createElement("a");
      link.href = href;
      link.append(code);
      element.append(link);
    }
    row.append(element);
    return element;
  };
  const show = (refusal) => {
    const row = document.createElement("tr");
    const time = document.createElement("time");
    time.dateTime = refusal.at;
    time.title = refusal.at;
    time.dataset.seconds = "";
    showTime(time, document.querySelector("[data-zone-name]").textContent); // of console.js
    cell(row, "td", " ").replaceChildren(time);
    cell(row, "th", refusal.reason);
    cell(row, "td", refusal.operation);
    cell(row, "td", refusal.key_id, live.dataset.key + "/" + encodeURIComponent(refusal.key_id));
    cell(row, "td", refusal.client, "");
    cell(row, "td", refusal.hops, "");
    cell(row, "td", refusal.backend);
    body.prepend(row);
    while (body.rows.length > most) body.lastElementChild.remove();
  };
  const say = (name) => { state.textContent = state.dataset[name]; };

  const url = new URL(live.dataset.events, location.href);
  url.searchParams.set("after", live.dataset.after);
  const events = new EventSource(url);
  const sayHow = () => say(events.readyState === EventSource.CLOSED ? "ended" : broken === undefined ? (paused ? "paused" : "running") : "broken");
  events.addEventListener("open", () => {
    clearTimeout(broken);
    broken = undefined;
    sayHow();
  });
  // The server ends the stream every few seconds, and the browser connects again at once. It does
  // not if the server refuses, as after the end of the session.
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) return sayHow();
    broken ??= setTimeout(sayHow, 3000);
  });
  events.addEventListener("message", (event) => {
    const refusal = JSON.parse(event.data);
    if (!paused) return show(refusal);
    waiting.push(refusal);
    if (waiting.length > most) waiting.shift();
  });
  events.addEventListener("missed", () => { missed.hidden = false; });
  pause.hidden = false;
  pause.type = "button";
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? pause.dataset.go : pause.dataset.pause;
    sayHow();
    if (!paused) {
      waiting.forEach(show);
      waiting = [];
    }
  });
}
