
"use strict";
// Without this script everything can be read, too: parts that are closed at first are opened by hand.
const select = (moves) => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  document.querySelectorAll(".selected").forEach((one) => one.classList.remove("selected"));
  document.querySelectorAll(".filtered").forEach((one) => showAll(one));
  document.querySelectorAll('.diagram a[href="#' + CSS.escape(target.id) + '"]').forEach((one) => one.classList.add("selected"));
  const list = target.parentElement;
  let place = target;
  if (list.classList.contains("elements") && list.children.length > 1) {
    target.classList.add("selected");
    list.classList.add("filtered");
    const bar = document.createElement("p");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Show all elements";
    button.addEventListener("click", () => { showAll(list); target.querySelector("summary").focus(); });
    bar.className = "chosen";
    bar.append(button);
    list.before(bar);
    place = bar;
  }
  if (moves) {
    place.scrollIntoView({ block: place === target ? "start" : "center" }); // the diagram stays in sight
    (target.tagName === "DETAILS" ? target.querySelector("summary") : target).focus({ preventScroll: true });
  }
};
const showAll = (list) => {
  list.classList.remove("filtered");
  if (list.previousElementSibling && list.previousElementSibling.className === "chosen") list.previousElementSibling.remove();
};
addEventListener("hashchange", () => select(true));
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (link) {
    if (link.getAttribute("href") === location.hash) select(true); // the hash does not change
    return;
  }
  const row = event.target.closest(".rows tbody tr");
  const details = row && row.querySelector("th a");
  if (details && getSelection().isCollapsed) details.click();
});
document.querySelectorAll(".filter").forEach((bar) => {
  const rows = [...document.getElementById(bar.dataset.target).children];
  const search = bar.querySelector("input[type=search]");
  const boxes = [...bar.querySelectorAll("input[type=checkbox]")];
  const result = bar.querySelector("[role=status]");
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const names = boxes.filter((box) => box.checked).map((box) => box.dataset.class);
    let shown = 0;
    rows.forEach((row) => {
      const text = words.length ? row.textContent.toLowerCase() : "";
      row.hidden = !(words.every((word) => text.includes(word)) && names.every((name) => row.classList.contains(name)));
      shown += !row.hidden;
    });
    result.textContent = words.length || names.length ? shown + " of " + rows.length + " shown" : "";
  };
  [search, ...boxes].forEach((field) => field.addEventListener("input", apply));
  bar.hidden = false;
});
select(false);
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));
