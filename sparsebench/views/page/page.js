"use strict";

// A cell's value for sorting: a number with its prefix and unit, or else its text.
const PREFIXES = { n: 1e-9, "µ": 1e-6, m: 1e-3, k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
function valueOf(text) {
  const found = /^<?(-?[\d.]+)\s*([nµmkMGT])?(?=[sBF×%(\s!°]|$)/.exec(text);
  return found ? Number(found[1]) * (PREFIXES[found[2]] ?? 1) : null;
}

// Rows that are shown at once: a browser takes its time with thousands.
const AT_ONCE = 500;

// A table of rows that can be filtered by words ("ours 4096 90%") and sorted by any column.
function searchable(input) {
  const table = document.getElementById(input.dataset.table);
  const { words, rows } = JSON.parse(document.getElementById(`${table.id}-data`).textContent);
  const lower = words.map((text) => ` ${text.toLowerCase()} `);
  const texts = rows.map((row) => row.map((number) => lower[number]).join("|"));
  const values = words.map(valueOf);
  const tools = input.closest("p");
  const [output, all] = [tools.querySelector("output"), tools.querySelector("button.all")];
  const heads = [...table.tHead.rows[0].cells];
  let order = rows.map((_, number) => number);
  let most = AT_ONCE;

  function show() {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = order.filter((number) => wanted.every((word) => texts[number].includes(word)));
    table.tBodies[0].replaceChildren(...found.slice(0, most).map((number) => {
      const row = document.createElement("tr");
      for (const cell of rows[number]) row.insertCell().textContent = words[cell];
      return row;
    }));
    output.textContent = `${found.length} of ${rows.length} rows`
      + (found.length > most ? `, the first ${most} are shown` : "");
    all.hidden = found.length <= most;
  }
  function compare(a, b) {
    const [x, y] = [values[a], values[b]];
    if ((x === null) !== (y === null)) return [x === null ? 1 : -1, false]; // words last
    return [x === null ? words[a].localeCompare(words[b]) : x - y, true];
  }
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      order.sort((a, b) => {
        const [less, turns] = compare(rows[a][column], rows[b][column]);
        return ascending || !turns ? less : -less;
      });
      show();
    });
  });
  all.addEventListener("click", () => { most = Infinity; show(); });
  input.addEventListener("input", show);
  show();
}
document.querySelectorAll("input[data-table]").forEach(searchable);

// A plot in full size, and what the place says that is pointed at.
(() => {
  const dialog = document.getElementById("enlarged");
  if (!dialog) return;
  const picture = dialog.querySelector(".picture");
  const image = new Image();
  const output = dialog.querySelector("output");
  const hint = output.textContent;
  const [across, down] = [picture.querySelector(".across"), picture.querySelector(".down")];
  let axes = [];

  const at = (share, [kind, low, high, log]) => {
    const value = log ? low * (high / low) ** share : low + share * (high - low);
    const short = Number(value.toPrecision(3));
    if (kind === "sparsity") return `${Number((100 * (1 - value)).toPrecision(4))}% sparsity`;
    if (kind === "×" || kind === "") return `${short}${kind}`;
    const power = Math.min(12, Math.max(-9, 3 * Math.floor(Math.log10(Math.abs(short) || 1) / 3)));
    const prefix = Object.keys(PREFIXES).find((name) => PREFIXES[name] === Number(`1e${power}`));
    return `${Number((value / 10 ** power).toPrecision(3))} ${prefix ?? ""}${kind}`;
  };
  function read(event) {
    const box = image.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width;
    const y = (event.clientY - box.top) / box.height;
    across.style.top = `${100 * y}%`;
    down.style.left = `${100 * x}%`;
    const found = axes.find(([left, top, right, bottom]) => x >= left && x <= right && y >= top && y <= bottom);
    across.hidden = down.hidden = !found;
    if (!found) {
      output.textContent = hint;
      return;
    }
    const [left, top, right, bottom, ofX, ofY] = found;
    const said = [ofX && at((x - left) / (right - left), ofX), ofY && at((bottom - y) / (bottom - top), ofY)];
    output.textContent = said.filter(Boolean).join(", ");
  }
  picture.addEventListener("pointermove", read);
  picture.addEventListener("pointerdown", read);
  for (const button of document.querySelectorAll("button.enlarge")) {
    button.addEventListener("click", () => {
      const own = button.querySelector("img");
      [image.src, image.alt, image.width, image.height] = [own.src, own.alt, own.width, own.height];
      picture.prepend(image);
      picture.style.setProperty("--shape", own.width / own.height);
      axes = JSON.parse(button.dataset.axes);
      [output.textContent, across.hidden, down.hidden] = [hint, true, true];
      dialog.showModal();
    });
  }
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
})();
