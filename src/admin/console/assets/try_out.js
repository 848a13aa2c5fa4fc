// Try out: the request as it is edited, the answer as it comes, and the same request as a program.
"use strict";

(() => {
  const find = (id) => document.getElementById(id);
  let sending = null;

  // The request

  const operation = () => find("operation").selectedOptions[0].dataset;
  const environment = () => document.querySelector("input[name=environment]:checked").value;
  const path = () => (operation().open === "true" ? find("path").value : operation().path);

  function parsed() {
    try {
      return JSON.parse(find("body").value);
    } catch {
      return null;
    }
  }

  // Whoever writes a field of the form means the same field of the body; its layout stays.
  function put(name, value) {
    const body = parsed();
    if (body === null || typeof body !== "object") return;
    if (value === undefined) delete body[name];
    else body[name] = value;
    const lines = Object.entries(body).map(([key, one]) => `  ${JSON.stringify(key)}: ${inline(one)}`);
    find("body").value = `{\n${lines.join(",\n")}\n}`;
  }

  const inline = (value) => JSON.stringify(value, null, 1).replace(/\n */g, " ").replace(/([[{]) | (?=[\]}])/g, "$1");

  function chosen() {
    const { example, open, path, modelInBody } = operation();
    find("path-field").hidden = open !== "true";
    find("path").value = path;
    find("body").value = example;
    if (example && modelInBody === "true") put("model", find("model").value);
    find("stream").checked = false;
  }

  function edited() {
    const body = parsed();
    if (body === null || typeof body !== "object") return;
    if (typeof body.model === "string") find("model").value = body.model;
    find("stream").checked = body.stream === true;
  }

  function mistake() {
    const text = find("body").value;
    if (text === "") return "";
    try {
      JSON.parse(text);
      return "";
    } catch (error) {
      return `This is no JSON: ${error.message}`;
    }
  }

  // The answer

  async function send() {
    const wrong = mistake();
    find("body-error").textContent = wrong;
    find("body-error").hidden = wrong === "";
    find("body").toggleAttribute("aria-invalid", wrong !== "");
    if (wrong !== "") {
      find("body").setAttribute("aria-invalid", "true");
      return find("body").focus();
    }
    const answer = begin();
    sending = new AbortController();
    try {
      const response = await fetch("/console/try-out/send", {
        method: "POST",
        headers: { "content-type": "application/json", "x-csrf-token": find("main").dataset.csrf },
        body: JSON.stringify({ method: operation().method, path: path(), environment: environment(), body: find("body").value }),
        signal: sending.signal,
      });
      if (response.headers.get("content-type") !== "application/x-ndjson") throw new Error(await refusal(response));
      await read(response.body, answer);
    } catch (error) {
      answer.error({ message: error.name === "AbortError" ? "Stopped." : error.message });
    } finally {
      sending = null;
      find("send").disabled = false;
      find("stop").hidden = true;
    }
  }

  async function refusal(response) {
    const text = await response.text();
    if (response.headers.get("content-type")?.includes("json")) return JSON.parse(text).detail;
    if (response.redirected || response.status === 401) return "Your session has ended. Sign in in another tab, and send it again here.";
    return new DOMParser().parseFromString(text, "text/html").querySelector(".notice")?.textContent ?? `The gateway answered ${response.status}.`;
  }

  async function read(body, answer) {
    const lines = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await lines.read();
      if (done) return;
      const whole = (rest + value).split("\n");
      rest = whole.pop();
      for (const line of whole) {
        const told = JSON.parse(line);
        answer[told.kind](told);
      }
    }
  }

  function begin() {
    find("send").disabled = true;
    find("stop").hidden = false;
    find("answer").hidden = false;
    find("answer").setAttribute("aria-busy", "true");
    find("answer-status").replaceChildren(tag("", "sent"));
    find("answer-text").hidden = true;
    find("answer-text").textContent = "";
    find("answer-body").textContent = "";
    find("answer-headers").replaceChildren();
    find("trail").replaceChildren(words("Told when the answer is whole."));
    return new Answer();
  }

  class Answer {
    raw = "";
    text = "";
    unread = "";
    streams = false;

    head({ status, reason, headers, after }) {
      this.status = [tag(status < 400 ? "good" : "bad", `${status} ${reason}`), words(`after ${after}`)];
      find("answer-status").replaceChildren(...this.status);
      this.streams = headers.some(([name, value]) => name === "content-type" && value.startsWith("text/event-stream"));
      find("answer-headers").replaceChildren(...headers.map(row));
    }

    body({ text }) {
      this.raw += text;
      find("answer-body").append(text);
      if (!this.streams) return;
      const lines = (this.unread + text).split(/\r?\n/);
      this.unread = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) this.show(contentOf(json(line.slice(5))));
      }
    }

    end({ bytes, after }) {
      if (!this.streams) {
        const body = json(this.raw);
        this.show(contentOf(body));
        if (body !== null) find("answer-body").textContent = JSON.stringify(body, null, 2);
      }
      if (this.text === "" && this.raw !== "") find("raw").open = true;
      this.status.push(words(`whole after ${after}, ${bytes} bytes`));
      find("answer-status").replaceChildren(...this.status);
    }

    error({ message }) {
      find("answer").removeAttribute("aria-busy");
      find("answer-status").append(tag("bad", message));
    }

    trail({ html, seams, by, attempts }) {
      find("trail").innerHTML = html;
      if (by) {
        this.status.splice(1, 0, tag("", by));
        if (attempts > 1) this.status.splice(2, 0, words(`${attempts} attempts`));
      }
      find("answer-status").replaceChildren(...this.status);
      if (seams.length) this.mark(seams);
      find("answer").removeAttribute("aria-busy");
    }

    show(text) {
      if (!text) return;
      this.text += text;
      find("answer-text").hidden = false;
      find("answer-text").textContent = this.text;
    }

    // The places where another target went on: counted in bytes.
    mark(seams) {
      const bytes = new TextEncoder().encode(this.text);
      const decoder = new TextDecoder();
      const pieces = [];
      let from = 0;
      for (const seam of seams) {
        const mark = document.createElement("mark");
        mark.className = "seam";
        mark.textContent = "another target goes on here";
        pieces.push(decoder.decode(bytes.slice(from, seam)), mark);
        from = seam;
      }
      find("answer-text").replaceChildren(...pieces, decoder.decode(bytes.slice(from)));
    }
  }

  function json(text) {
    try {
      return JSON.parse(text);
    } catch {
      return null;
    }
  }

  // The words of an answer or of an event of a stream, in each API's shape.
  function contentOf(body) {
    if (body === null || typeof body !== "object") return "";
    const choice = body.choices?.[0];
    const texts = (parts) => (Array.isArray(parts) ? parts.map((part) => part.text ?? "").join("") : "");
    const own = choice?.delta?.content ?? choice?.message?.content ?? choice?.text;
    if (typeof own === "string") return own;
    if (typeof body.delta === "string") return body.type === "response.output_text.delta" ? body.delta : "";
    if (typeof body.delta?.text === "string") return body.delta.text;
    if (body.candidates) return texts(body.candidates[0]?.content?.parts);
    if (body.output?.message) return texts(body.output.message.content);
    if (Array.isArray(body.output)) return body.output.map((item) => texts(item.content)).join("");
    if (typeof body.error?.message === "string") return body.error.message;
    return texts(body.content);
  }

  function tag(kind, text) {
    const element = document.createElement("span");
    element.className = `tag ${kind}`;
    element.textContent = text;
    return element;
  }

  function words(text) {
    const element = document.createElement("span");
    element.className = "muted";
    element.textContent = text;
    return element;
  }

  function row([name, value]) {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    const cell = line.insertCell();
    cell.className = "code";
    cell.textContent = value;
    line.prepend(head);
    return line;
  }

  // The same as a program

  function base() {
    const [first = ""] = document.querySelector(".try-out").dataset.listeners.trim().split(" ");
    return first.replace("*", location.hostname);
  }

  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

  const PROGRAMS = {
    curl({ method, url, body, keys, stream }) {
      const lines = [`curl ${stream ? "-iN" : "-i"} ${method === "POST" ? "" : `-X ${method} `}${quoted(url)}`];
      if (keys) lines.push(`  -H "authorization: Bearer $STANDIN_KEY"`);
      if (body) lines.push(`  -H 'content-type: application/json'`, `  -d ${quoted(body)}`);
      return lines.join(" \\\n");
    },

    python({ method, url, body, keys, stream }) {
      const at = new URL(url);
      const key = keys ? `os.environ["STANDIN_KEY"]` : `"none"`;
      const head = ["import json", ...(keys ? ["import os"] : []), "", "from openai import OpenAI", ""];
      const [, root, rest] = /^(\/v1)?(\/.*)$/.exec(at.pathname + at.search);
      head.push(`client = OpenAI(base_url="${at.origin}${root ?? ""}", api_key=${key})`);
      const asked = body ? [`body = json.loads(r'''${body}''')`] : [];
      if (rest !== "/chat/completions") {
        const call = method === "GET" ? `client.get("${rest}", cast_to=object)` : `client.post("${rest}", body=${body ? "body" : "None"}, cast_to=object)`;
        return [...head, ...asked, `print(json.dumps(${call}, indent=2))`].join("\n");
      }
      const print = stream
        ? ["for event in client.chat.completions.create(**body):", "    if event.choices:", `        print(event.choices[0].delta.content or "", end="", flush=True)`]
        : ["answer = client.chat.completions.create(**body)", "print(answer.model, answer.choices[0].message.content)"];
      return [...head, ...asked, ...print].join("\n");
    },

    javascript({ method, url, body, keys, stream }) {
      const headers = [
        ...(keys ? ["authorization: `Bearer ${process.env.STANDIN_KEY}`"] : []),
        ...(body ? [`"content-type": "application/json"`] : []),
      ];
      const lines = [`const response = await fetch(${JSON.stringify(url)}, {`, `  method: "${method}",`, `  headers: { ${headers.join(", ")} },`];
      if (body) {
        const value = json(body);
        lines.push(`  body: JSON.stringify(${value === null ? JSON.stringify(body) : inline(value)}),`);
      }
      lines.push("});");
      if (stream) lines.push("for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {", "  process.stdout.write(piece);", "}");
      else lines.push("console.log(response.status, await response.text());");
      return lines.join("\n");
    },
  };

  function program() {
    const language = document.querySelector("[data-language][aria-pressed=true]").dataset.language;
    const asked = {
      method: operation().method,
      url: base() + path(),
      body: find("body").value,
      keys: document.querySelector(".try-out").dataset.keys === "true",
      stream: parsed()?.stream === true,
    };
    find("code").textContent = PROGRAMS[language](asked);
    find("copied").textContent = "";
  }

  async function copy() {
    const text = find("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      find("copied").textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(find("code"));
      find("copied").textContent = "Selected: copy it with the keyboard.";
    }
  }

  // The page

  function start() {
    if (!find("try") || find("try").dataset.started) return;
    find("try").dataset.started = "true";
    find("try").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!sending) send();
    });
    find("stop").addEventListener("click", () => sending?.abort());
    find("operation").addEventListener("change", chosen);
    find("model").addEventListener("input", () => operation().modelInBody === "true" && put("model", find("model").value));
    find("stream").addEventListener("change", (event) => put("stream", event.target.checked ? true : undefined));
    find("body").addEventListener("input", edited);
    for (const kind of ["input", "change"]) find("try").addEventListener(kind, program);
    for (const button of document.querySelectorAll("[data-language]")) {
      button.addEventListener("click", () => {
        for (const other of document.querySelectorAll("[data-language]")) other.setAttribute("aria-pressed", String(other === button));
        program();
      });
    }
    find("copy").addEventListener("click", copy);
    program();
  }

  document.addEventListener("DOMContentLoaded", start);
  document.addEventListener("htmx:afterSettle", start);
})();
