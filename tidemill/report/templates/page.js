"use strict";
// The page says everything without this script. It adds: a filter, copy buttons, and an open
// detail where a link points to one that is closed.
(() => {
  const form = document.querySelector(".filter");
  const box = form.querySelector("input");
  const told = form.querySelector("output");
  const parts = [...document.querySelectorAll("[data-words]")];
  const details = parts.filter((part) => part.tagName === "DETAILS");

  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const part of parts) {
      part.hidden = !words.every((word) => part.dataset.words.includes(word));
    }
    const shown = details.filter((part) => !part.hidden).length;
    told.textContent = words.length ? `${shown} of ${details.length} addresses` : "";
  };

  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    const holder = target && target.closest("details");
    if (!holder) return;
    if (holder.hidden) {
      box.value = "";
      apply();
    }
    holder.open = true;
    holder.scrollIntoView();
  };

  const setAll = (open) => {
    for (const part of details) part.open = open;
  };

  const copyButton = (holder) => {
    const button = document.createElement("button");
    const source = holder.querySelector("pre");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source);
        button.textContent = "Selected";
      }
    });
    holder.append(button);
  };

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  box.addEventListener("input", apply);
  form.querySelector("[data-open]").addEventListener("click", () => setAll(true));
  form.querySelector("[data-close]").addEventListener("click", () => setAll(false));
  document.querySelectorAll(".copy").forEach(copyButton);
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", () => setAll(true));
  apply();
  reveal();
})();
