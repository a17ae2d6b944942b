/* What is wrong with the text of the page that is open: [{kind, text, detail}, …]. Looks at every piece of text by the
   rectangles that the browser gave its lines, and at what cuts or hides those. */
(function () {
  "use strict";
  const SLACK = 1.5; // px: half-leading and rounding
  const faults = [];
  const view = document.documentElement.clientWidth;
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  function short(text) { return text.trim().replace(/\s+/g, " ").slice(0, 80); }
  function fault(kind, text, detail) { if (faults.length < 200) faults.push({ kind, text: short(text), detail }); }
  function box(r) { return [r.left, r.top, r.right, r.bottom].map((v) => Math.round(v * 10) / 10).join(" "); }
  if (document.documentElement.scrollWidth > view + 1)
    fault("page wider than the window", document.title, document.documentElement.scrollWidth + " > " + view);

  function colour(text) {
    const m = /rgba?\(([^)]+)\)/.exec(text);
    if (!m) return null;
    const parts = m[1].split(/[ ,/]+/).map(Number);
    return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
  }
  function light(rgb) {
    const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function behind(element) {
    for (let one = element; one; one = one.parentElement) {
      const c = colour(getComputedStyle(one).backgroundColor);
      if (c && c.alpha > 0.99) return c.rgb;
    }
    return [255, 255, 255];
  }
  function contrast(element, text) {
    const style = getComputedStyle(element);
    const ink = colour(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    if (!ink) return;
    const [a, b] = [light(ink.rgb), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    if (ratio < (size >= 24 || (bold && size >= 18.66) ? 3 : 4.5)) fault("contrast under AA", text, ratio.toFixed(2));
    if (size < 10) fault("text too small", text, style.fontSize);
  }

  /* Rectangles that hold what is in an element: { rect, why }. What scrolls holds all that it can scroll to. */
  const known = new Map();
  function holders(element) {
    if (!element || element === document.documentElement) return [];
    if (known.has(element)) return known.get(element);
    const rest = holders(element.parentElement), style = getComputedStyle(element);
    let mine = rest;
    const r = element.getBoundingClientRect();
    const across = style.overflowX, hides = across === "hidden" || across === "clip" || style.overflowY === "hidden";
    if (across === "auto" || across === "scroll")
      mine = [{ rect: { left: r.left, right: r.left + element.scrollWidth, top: r.top, bottom: r.top + element.scrollHeight },
        why: "out of what can be scrolled to", scroller: element }, ...rest.filter((h) => h.why === "hidden by a box")];
    else if (hides) mine = [{ rect: r, why: "hidden by a box" }, ...rest];
    else if (element.tagName.toLowerCase() === "svg" || element.tagName === "FIGURE" || element.id === "tip")
      mine = [{ rect: r, why: "out of its picture" }, ...rest];
    else if (element.classList.contains("plot"))  // its own text may stand in the row's padding, but not beside it
      mine = [{ rect: { left: r.left, right: r.right, top: -1e9, bottom: 1e9 }, why: "out of its picture" }, ...rest];
    known.set(element, mine);
    return mine;
  }

  const lines = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.nodeValue.trim() || !parent || parent.closest("script, style, title, [hidden]")) continue;
    const style = getComputedStyle(parent);
    if (style.display === "none" || style.visibility === "hidden" || style.opacity === "0") continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const rects = Array.from(range.getClientRects()).filter((r) => r.width > 0.5 && r.height > 0.5);
    if (!rects.length) continue;
    contrast(parent, node.nodeValue);
    if (style.textOverflow === "ellipsis" && parent.scrollWidth > parent.clientWidth) fault("cut with …", node.nodeValue, "");
    const around = holders(parent), scroller = around.find((h) => h.scroller);
    const frame = parent.namespaceURI.endsWith("svg") && parent.parentElement.querySelector(":scope > rect.box");
    for (const r of rects) {
      for (const h of around)
        if (r.left < h.rect.left - SLACK || r.right > h.rect.right + SLACK || r.top < h.rect.top - SLACK || r.bottom > h.rect.bottom + SLACK)
          fault(h.why, node.nodeValue, box(r) + " in " + box(h.rect));
      if (!scroller && (r.left < -SLACK || r.right > view + SLACK)) fault("cut by the window", node.nodeValue, box(r));
      if (frame) {
        const f = frame.getBoundingClientRect();
        if (f.right > r.left && (r.right > f.right + SLACK || r.left < f.left - SLACK) && parent.tagName !== "title" && r.left < f.right && r.left > f.left - 40 && parent.parentElement.tagName === "g")
          fault("out of its box", node.nodeValue, box(r) + " in " + box(f));
      }
      let seen = r;
      if (scroller) {  // what is scrolled out of sight lies over nothing
        const s = scroller.scroller.getBoundingClientRect();
        seen = { left: Math.max(r.left, s.left), right: Math.min(r.right, s.right), top: Math.max(r.top, s.top), bottom: Math.min(r.bottom, s.bottom) };
        if (seen.right <= seen.left || seen.bottom <= seen.top) seen = null;
      }
      if (seen) lines.push({ r: seen, node });
    }
  }

  /* The content area of a line is taller than its letters: lines of one paragraph may touch. */
  lines.sort((a, b) => a.r.top - b.r.top);
  for (let i = 0; i < lines.length; i++)
    for (let k = i + 1; k < lines.length && lines[k].r.top < lines[i].r.bottom - 3; k++) {
      const a = lines[i], b = lines[k];
      if (a.node === b.node) continue;
      const wide = Math.min(a.r.right, b.r.right) - Math.max(a.r.left, b.r.left);
      const tall = Math.min(a.r.bottom, b.r.bottom) - Math.max(a.r.top, b.r.top);
      if (wide > SLACK && tall > 3) fault("over other text", a.node.nodeValue, short(b.node.nodeValue) + ": " + box(a.r) + " and " + box(b.r));
    }
  return { faults, pieces: lines.length };
})()
