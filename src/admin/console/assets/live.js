// Live: the parts of the page that change, asked for every second, and the charts.
//
// A row that is there stays in its place, so that focus, open details and selections do: only what
// differs in it is exchanged. Without this script the page is the same at the moment it is loaded.
"use strict";

(() => {
  const find = (id) => document.getElementById(id);
  const INTERVAL = 1000;
  let paused = false;
  let timer = null;
  let series = 2;

  // The parts

  async function refresh() {
    const question = new URLSearchParams(new FormData(find("filter")));
    const response = await fetch(`/console/live/now?${question}`, { headers: { "hx-request": "true" } });
    if (!response.ok) return stop("Your session has ended. Reload the page to sign in again.");
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const there = document.querySelector(`[data-part="${part.dataset.part}"]`);
      if (part.dataset.part === "numbers") exchange(there, part);
      else merge(there, part);
    }
  }

  function merge(there, fresh) {
    const known = new Map([...there.children].map((row) => [row.dataset.key, row]));
    let at = there.firstElementChild;
    for (const row of [...fresh.children]) {
      const old = known.get(row.dataset.key);
      known.delete(row.dataset.key);
      if (!old) {
        there.insertBefore(document.adoptNode(row), at);
        continue;
      }
      // What can be open is a request, which never changes.
      if (!old.querySelector("details")) renew(old, row);
      if (old === at) at = at.nextElementSibling;
      else if (!old.contains(document.activeElement)) there.insertBefore(old, at);
    }
    for (const gone of known.values()) gone.remove();
  }

  function renew(old, fresh) {
    [...fresh.children].forEach((cell, place) => exchange(old.children[place], cell));
  }

  function exchange(old, fresh) {
    if (old.innerHTML === fresh.innerHTML) return;
    const focused = old.contains(document.activeElement);
    old.innerHTML = fresh.innerHTML;
    if (focused) old.querySelector("button")?.focus();
  }

  async function press(event) {
    const form = event.target.closest("[data-part=pairs] form");
    if (!form) return;
    event.preventDefault();
    const response = await fetch(form.action, {
      method: "POST",
      headers: { "hx-request": "true" },
      body: new URLSearchParams(new FormData(form)),
    });
    if (!response.ok) find("notice").innerHTML = await response.text();
    await refresh();
  }

  // The charts

  const points = { at: [], samples: [] };
  const charts = new Map();
  const KINDS = {
    requests: { lines: ["requests", "failovers"], of: rates },
    own: { lines: ["added latency"], of: ({ own }, target) => [target ? null : mean(own)] },
    first: { lines: ["first token"], of: (sample, target) => [mean(sum(sample, target, 2, 3))] },
    tokens: { lines: ["tokens"], of: (sample, target) => [sum(sample, target, 4)[0] / series] },
  };

  function rates(sample, target) {
    const [attempts, failovers] = sum(sample, target, 0, 1);
    return [(target ? attempts : sample.requests) / series, failovers / series];
  }

  const mean = ([count, seconds]) => (count ? (1000 * seconds) / count : null);

  function sum(sample, target, ...places) {
    const targets = sample.targets.filter(([endpoint, model]) => !target || target === `${endpoint} ${model}`);
    return places.map((place) => targets.reduce((sum, [, , numbers]) => sum + numbers[place], 0));
  }

  async function sample() {
    const after = points.samples.at(-1)?.at ?? 0;
    const response = await fetch(`/console/live/samples?after=${after}`, { headers: { "hx-request": "true" } });
    if (!response.ok) return;
    const { interval, samples } = await response.json();
    if (!samples.length) return;
    series = interval;
    points.samples.push(...samples);
    points.samples.splice(0, points.samples.length - 150);
    choices();
    draw();
  }

  function choices() {
    const select = find("chart-of");
    const there = new Set([...select.options].map((option) => option.value));
    for (const { targets } of points.samples) {
      for (const [endpoint, model] of targets) {
        const value = `${endpoint} ${model}`;
        if (there.has(value)) continue;
        there.add(value);
        select.add(new Option(model ? `${model} at ${endpoint}` : endpoint, value));
      }
    }
  }

  function draw() {
    find("charts-card").hidden = false;
    const target = find("chart-of").value;
    const at = points.samples.map((sample) => sample.at / 1000);
    for (const [kind, { of, lines }] of Object.entries(KINDS)) {
      const rows = points.samples.map((sample) => of(sample, target));
      const data = [at, ...lines.map((_, line) => rows.map((row) => row[line]))];
      const chart = charts.get(kind);
      if (chart) chart.setData(data);
      else charts.set(kind, create(kind, lines, data));
    }
  }

  function create(kind, lines, data) {
    const place = document.querySelector(`[data-chart=${kind}]`);
    const style = getComputedStyle(place);
    const [text, grid, ...colours] = ["--muted", "--line", "--accent", "--warn"].map((name) => resolved(place, name));
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: `12px ${style.fontFamily}` };
    const options = {
      width: place.clientWidth,
      height: 150,
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(high ?? 0, 0.5) * 1.1] } },
      axes: [{ ...axis, space: 70, size: 26, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 44 }],
      series: [{}, ...lines.map((label, line) => ({ label, stroke: colours[line], width: 2, spanGaps: true, points: { show: data[0].length < 3, fill: colours[line] } }))],
    };
    return new uPlot(options, data, place);
  }

  const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

  // A canvas knows nothing of variables and of light-dark().
  function resolved(place, name) {
    const probe = document.createElement("span");
    probe.className = `colour${name}`;
    place.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  }

  function again() {
    for (const chart of charts.values()) chart.destroy();
    charts.clear();
    if (points.samples.length) draw();
  }

  // The page

  async function tick() {
    clearTimeout(timer);
    try {
      await Promise.all([refresh(), sample()]);
      find("main").dataset.updated = String(Date.now());
    } catch {
      // The gateway is away: the next tick asks again.
    }
    if (!paused) timer = setTimeout(tick, INTERVAL);
  }

  function stop(words) {
    paused = true;
    const notice = document.createElement("p");
    notice.className = "notice warning";
    notice.textContent = words;
    find("notice").replaceChildren(notice);
  }

  function pause() {
    paused = !paused;
    find("pause").setAttribute("aria-pressed", String(paused));
    if (!paused) tick();
    else clearTimeout(timer);
  }

  document.addEventListener("DOMContentLoaded", () => {
    find("pause").hidden = false;
    find("pause").addEventListener("click", pause);
    find("filter").addEventListener("submit", (event) => event.preventDefault());
    for (const kind of ["input", "change"]) find("filter").addEventListener(kind, () => refresh());
    find("chart-of").addEventListener("change", draw);
    document.addEventListener("submit", press);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    addEventListener("resize", again);
    tick();
  });
})();
