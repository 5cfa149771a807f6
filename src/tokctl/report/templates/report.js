
"use strict";
// Links lead to elements, which are closed at first. Without this script they can be opened by hand.
const open = (moves) => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const details = target.closest("details");
  if (details) details.open = true;
  document.querySelectorAll(".selected").forEach((one) => one.classList.remove("selected"));
  document.querySelectorAll('.diagram a[href="#' + CSS.escape(target.id) + '"]').forEach((one) => one.classList.add("selected"));
  if (moves) {
    target.scrollIntoView({ block: "nearest" });
    (details ? details.querySelector("summary") : target).focus({ preventScroll: true });
  }
};
addEventListener("hashchange", () => open(true));
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (link && link.getAttribute("href") === location.hash) open(true); // the hash does not change
});
open(false);
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));
