// What plain HTML and htmx can't do: the focus and a spoken word after a part of the page was
// replaced, cards that can be dragged, and a question before typed text is left behind.
"use strict";

(() => {
  const main = () => document.getElementById("main");
  let typed = false;

  function settle() {
    const page = main();
    if (!page) return;
    const { focus, say } = page.dataset;
    if (focus) document.getElementById(focus)?.focus();
    if (say) document.getElementById("said").textContent = say;
    typed = page.querySelector("form[data-typed]") !== null;
    for (const list of page.querySelectorAll("[data-sortable]")) sortable(list);
  }

  function sortable(list) {
    if (typeof Sortable === "undefined" || Sortable.get(list)) return;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    Sortable.create(list, {
      handle: ".handle",
      animation: still ? 0 : 150,
      ghostClass: "dragged",
      onEnd(event) {
        if (event.oldIndex === event.newIndex) return;
        const button = document.getElementById(list.dataset.sortable);
        button.value = `${button.dataset.value}${event.newIndex}`;
        button.click();
      },
    });
  }

  document.addEventListener("DOMContentLoaded", settle);
  document.addEventListener("htmx:afterSettle", settle);

  // The session is a new one: its forms are sent with its token.
  document.addEventListener("csrf", (event) => {
    for (const field of document.querySelectorAll("input[name=csrf]")) field.value = event.detail.value;
    main().dataset.csrf = event.detail.value;
  });

  document.addEventListener("htmx:beforeRequest", () => {
    document.getElementById("notice").replaceChildren();
  });

  document.addEventListener("input", (event) => {
    if (event.target.closest("form[data-guarded]")) typed = true;
  });
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (event.detail.xhr.getResponseHeader("HX-Redirect")) typed = false;
  });
  document.addEventListener("htmx:sendError", () => {
    const notice = document.createElement("p");
    notice.className = "notice warning";
    notice.textContent = "The gateway can't be reached. Nothing that you typed is lost: send it again.";
    document.getElementById("notice").replaceChildren(notice);
  });
  addEventListener("beforeunload", (event) => {
    if (typed) event.preventDefault();
  });
})();
