"use strict";
/* A dot says which boot it is. All that is shown stands in the table of boots, which needs no script. */
(function () {
  const tip = document.getElementById("tip");
  let hot = [];
  function make(name, text, parent) {
    const made = document.createElement(name);
    made.textContent = text;
    parent.appendChild(made);
  }
  function hide() {
    tip.hidden = true;
    hot.forEach((dot) => dot.classList.remove("hot"));
    hot = [];
  }
  function show(dot) {
    const row = document.getElementById(dot.dataset.b);
    if (!row) return;
    hide();
    hot = Array.from(document.querySelectorAll('[data-b="' + dot.dataset.b + '"]'));
    hot.forEach((one) => one.classList.add("hot"));
    const titles = row.closest("table").rows[0].cells;
    const list = document.createElement("dl");
    tip.replaceChildren(list);
    Array.from(row.cells).forEach((cell, at) => {
      const text = cell.textContent.trim();
      if (!text) return;
      if (cell.className === "console") make("pre", text, tip);
      else { make("dt", titles[at].textContent, list); make("dd", text, list); }
    });
    tip.hidden = false;
    const at = dot.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const below = at.bottom + 10 + size.height < innerHeight;
    tip.style.left = Math.max(8, Math.min(at.left + 10, innerWidth - size.width - 8)) + "px";
    tip.style.top = Math.max(8, below ? at.bottom + 10 : at.top - size.height - 10) + "px";
  }
  function dotOf(event) { return event.target.closest ? event.target.closest("[data-b]") : null; }
  document.addEventListener("pointerover", (event) => { const dot = dotOf(event); if (dot) show(dot); });
  document.addEventListener("pointerout", (event) => { if (dotOf(event) && event.pointerType === "mouse") hide(); });
  /* A finger is wider than a dot: of a row that is tapped the nearest one is meant. */
  function nearest(event) {
    const row = event.target.closest && event.target.closest(".plot");
    let best = null, least = 24;
    if (row) row.querySelectorAll("[data-b]").forEach((dot) => {
      const r = dot.getBoundingClientRect();
      const far = Math.hypot(r.left + r.width / 2 - event.clientX, r.top + r.height / 2 - event.clientY);
      if (far < least) { best = dot; least = far; }
    });
    return best;
  }
  document.addEventListener("click", (event) => {
    const dot = dotOf(event) || nearest(event);
    if (dot) show(dot); else hide();
  });
  document.querySelectorAll(".plot > svg").forEach((svg) => {
    const dots = Array.from(svg.querySelectorAll("[data-b]"));
    if (!dots.length) return;
    svg.setAttribute("tabindex", "0");
    svg.setAttribute("aria-label", svg.getAttribute("aria-label") + "; arrow keys go from boot to boot");
    let at = -1;
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      at = Math.max(0, Math.min(at + step, dots.length - 1));
      show(dots[at]);
    });
    svg.addEventListener("blur", hide);
  });
  /* An icicle: what is sought is outlined and summed; a slab that is clicked takes the whole width, its root gives it back. */
  document.querySelectorAll(".icicle").forEach((figure) => {
    const seek = figure.querySelector(".seek"), input = seek.querySelector("input"), told = seek.querySelector("output");
    const rows = Array.from(figure.querySelectorAll(".slabs"));
    seek.hidden = false;
    function sought() {
      const word = input.value.trim();
      const glob = word.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".");
      const wanted = word && new RegExp(/[*?]/.test(word) ? "^" + glob + "$" : glob, "i");
      const sums = rows.map((row) => {
        let sum = 0, behind = -1, end = 0;
        const slabs = Array.from(row.children);
        slabs.forEach((slab) => {
          const hit = Boolean(wanted) && wanted.test(slab.dataset.n);
          slab.classList.toggle("hit", hit);
          const start = Number(slab.dataset.l), level = parseFloat(slab.style.top);
          /* what lies below a slab that was counted is in it */
          if (hit && !(level > behind && start < end - 1e-9)) {
            sum += Number(slab.dataset.v); behind = level; end = start + Number(slab.dataset.w);
          }
        });
        row.classList.toggle("sought", Boolean(wanted));
        return slabs.length ? (100 * sum / Number(slabs[0].dataset.v)).toFixed(2) + " %" : "";
      });
      told.textContent = wanted ? sums.join(", ") : "";
    }
    input.addEventListener("input", sought);
    rows.forEach((row) => {
      const slabs = Array.from(row.children);
      slabs.forEach((slab) => { slab.dataset.l = parseFloat(slab.style.left); slab.dataset.w = parseFloat(slab.style.width); });
      row.addEventListener("click", (event) => {
        const slab = event.target.closest(".slab");
        if (!slab) return;
        const whole = slab === slabs[0], from = whole ? 0 : Number(slab.dataset.l), wide = whole ? 100 : Number(slab.dataset.w);
        slabs.forEach((one) => {
          const left = Number(one.dataset.l), width = Number(one.dataset.w);
          const low = Math.max(left, from), high = Math.min(left + width, from + wide);
          one.style.display = high - low > 1e-9 ? "" : "none";
          one.style.left = 100 * (low - from) / wide + "%";
          one.style.width = 100 * (high - low) / wide + "%";
        });
      });
    });
  });
})();
