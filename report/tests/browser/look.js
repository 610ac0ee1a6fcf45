// What a reader would see of the opened page: run by the tests in the page, never part of a report.
() => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const parse = (text) => (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const background = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const contrast = (element) => {
    const style = getComputedStyle(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(background(element))].sort((p, q) => q - p);
    return (a + 0.05) / (b + 0.05);
  };
  const box = (element) => element.getBoundingClientRect();
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("title, desc, .unseen, style")) continue;
    texts += 1;
    const ratio = contrast(element);
    if (!(ratio >= 4.5)) faint.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  const empty = [], overlapping = [], cut = [];
  const plots = [...document.querySelectorAll("svg.plot")];
  for (const plot of plots) {
    const drawn = [...plot.querySelectorAll("path.line, path.beats, rect.bar, rect.span")];
    const seen = drawn.some((one) => (one.getAttribute("d") || one.tagName === "rect") && Math.max(box(one).width, box(one).height) > 0);
    if (!seen || !(box(plot).width > 100) || !(box(plot).height > 100)) empty.push(plot.id);
    const words = [...plot.querySelectorAll("text")].filter((one) => !one.closest(".failed-mark, .held-mark"));
    const canvas = box(plot.closest(".canvas"));
    words.forEach((one, index) => {
      const a = box(one);
      const label = `${plot.id}: ${one.lastChild.data}`;
      if (a.left < canvas.left - 1 || a.right > canvas.right + 1) cut.push(label);
      for (const other of words.slice(index + 1)) {
        const b = box(other);
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (across > 0 && down > 3) overlapping.push(`${label} / ${other.lastChild.data}`);
      }
    });
  }
  const root = document.documentElement;
  return { texts, faint, plots: plots.length, empty, overlapping, cut, wide: root.scrollWidth - root.clientWidth };
}
