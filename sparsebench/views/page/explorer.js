"use strict";

// The explorer: choose a machine, a layer, a batch; it says what is fastest, and how sure that is.
(() => {
  const place = document.getElementById("explorer");
  if (!place) return;
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const WORDS = new Set(data.texts);
  const TITLES = {
    where: "Where", dtype: "Type", operation: "Operation", phase: "Phase", layer: "Layer",
    topology: "Connections", seed: "Seed", batch: "Batch", sparsity: "Sparsity", source: "Records",
    input_sparsity: "Zeros in the input", gradients: "Gradients", cache: "Caches",
  };
  const PHASES = {
    construction: "making a layer",
    rewiring: "training step with a rewiring",
    forward_backward: "forward + backward",
    train_step: "training step",
  };
  const TYPICAL = { sparsity: 0.9, batch: 128 };
  const BASELINE = "dense";
  const svgNames = place.querySelector("svg").namespaceURI; // the page names no address
  const word = (number) => data.words[number];

  const problems = data.problems.map(([values, origin, rows]) => {
    const problem = {};
    data.fields.forEach((name, n) => {
      problem[name] = WORDS.has(name) ? word(values[n]) : values[n];
    });
    const [commit, torch, device, chapter] = origin.slice(0, 4).map(word);
    return Object.assign(problem, {
      commit, torch, device, chapter, threads: origin[4],
      rows: rows.map(([name, status, why, outcome, seconds, behind, speedup, memory, share]) => ({
        name: word(name), status: word(status), why: word(why), outcome: word(outcome),
        seconds, behind, speedup, memory, share,
      })),
    });
  });

  // Numbers as the tables have them: three digits, the right prefix, a unit.
  const digits = (value, count) => {
    const places = count - 1 - Math.floor(Math.log10(Math.abs(Number(value.toPrecision(count)))));
    return value.toFixed(Math.max(0, Math.min(12, places)));
  };
  const quantity = (value, unit) => {
    const rounded = Math.abs(Number(value.toPrecision(3)));
    const power = Math.min(12, Math.max(-9, 3 * Math.floor(Math.log10(rounded || 1) / 3)));
    const prefix = { "-9": "n", "-6": "µ", "-3": "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T" };
    return `${value ? digits(value / 10 ** power, 3) : 0} ${prefix[power]}${unit}`;
  };
  const ratio = (value) => {
    if (value < 0.995) return value >= 0.01 ? `${value.toFixed(2)}×` : "<0.01×";
    return Number(value.toFixed(1)) < 10 ? `${value.toFixed(1)}×` : `${value.toFixed(0)}×`;
  };
  const percent = (share) => `${Number((100 * share).toPrecision(4))}%`;
  const known = (ends) => ends !== null && ends[1] !== null;
  const interval = (ends, show) => {
    if (ends === null) return "";
    if (!known(ends)) return `${show(ends[0])}°`;
    const [low, high] = [show(ends[1]), show(ends[2])];
    const [, unit] = low.split(" "); // that is said once where both ends have it
    const same = unit !== undefined && unit === high.split(" ")[1];
    return low === high ? show(ends[0]) : `${show(ends[0])} (${same ? low.split(" ")[0] : low}–${high})`;
  };
  const ratios = (ends) => interval(ends, ratio).replace(/×(?=[–)])/g, "");
  const seconds = (ends) => interval(ends, (value) => quantity(value, "s"));

  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const drawn = (tag, attributes, ...children) => {
    const made = document.createElementNS(svgNames, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };

  // ---- what is asked -------------------------------------------------------------------------

  const selects = {};
  const form = element("form", { className: "asked" });
  for (const name of data.fields) {
    selects[name] = element("select", { name });
    form.append(element("label", {}, element("span", { textContent: TITLES[name] }), selects[name]));
  }
  form.addEventListener("submit", (event) => event.preventDefault());

  const shown = (name, value) => {
    if (name === "phase") return PHASES[value] ?? value;
    return name.endsWith("sparsity") ? percent(value) : String(value);
  };
  const ordered = (name, values) => {
    if (name === "phase") return data.phases.filter((phase) => values.has(phase));
    const list = [...values];
    if (name === "layer") return list.sort((a, b) => extent(a) - extent(b));
    return WORDS.has(name) ? list : list.sort((a, b) => a - b);
  };
  const extent = (layer) => {
    const [inputs, outputs, kernel] = data.layers[layer];
    return inputs * outputs * kernel * kernel;
  };
  // Of what there is the value that was chosen, or the one next to it.
  const nearest = (name, values, wanted) => {
    if (values.includes(wanted)) return wanted;
    if (typeof values[0] !== "number") {
      return name === "layer" || name === "source" ? values.at(-1) : values[0];
    }
    const goal = wanted ?? TYPICAL[name] ?? values[0];
    return values.reduce((a, b) => (Math.abs(b - goal) < Math.abs(a - goal) ? b : a));
  };

  const chosen = {};
  function choose() {
    let left = problems;
    for (const name of data.fields) {
      const values = ordered(name, new Set(left.map((problem) => problem[name])));
      const value = nearest(name, values, chosen[name]);
      const select = selects[name];
      select.replaceChildren(...values.map((one) =>
        element("option", { value: one, textContent: shown(name, one), selected: one === value })));
      // What leaves no choice is not asked; where and what layer it is, is always told.
      const asked = values.length > 1 || ["where", "layer", "batch", "sparsity"].includes(name);
      select.parentElement.hidden = !asked;
      left = left.filter((problem) => problem[name] === value);
      chosen[name] = value;
    }
    return left.at(-1);
  }
  form.addEventListener("change", (event) => {
    const { name, value } = event.target;
    chosen[name] = WORDS.has(name) ? value : Number(value);
    show();
    history.replaceState(null, "", `#explore&${new URLSearchParams(chosen)}`);
  });

  // ---- what is answered ----------------------------------------------------------------------

  function sentence(problem) {
    const timed = problem.rows.filter((row) => row.seconds && !row.why);
    if (!timed.length) return "No time that would decide anything: see below why.";
    const [first, next] = timed;
    const tied = timed.filter((row) => row.outcome === "tie" && row !== first);
    const dense = problem.rows.find((row) => row.name === BASELINE && row.seconds && !row.why);
    const parts = [];
    if (tied.length) {
      parts.push(`A tie: ${[first, ...tied].map((row) => row.name).join(", ")} cannot be told apart.`);
      parts.push(`${first.name} took ${seconds(first.seconds)}`);
    } else {
      parts.push(`${first.name} ${first.outcome === "win" ? "is" : "was"} the fastest: ${seconds(first.seconds)}`);
    }
    if (dense && first.name !== BASELINE) parts.push(`${ratios(first.speedup)} as fast as dense`);
    if (next && next.name !== BASELINE && !tied.length) parts.push(`ahead of ${next.name}, which takes ${ratios(next.behind)} its time`);
    let text = tied.length ? `${parts[0]} ${parts.slice(1).join(", ")}.` : `${parts.join(", ")}.`;
    if (first.memory !== null) {
      const share = first.share === null || first.name === BASELINE
        ? "" : `, ${percent(Number(first.share.toPrecision(2)))} of what dense takes`;
      text += ` It takes ${quantity(first.memory, "B")} at its peak${share}.`;
    }
    return text;
  }

  function certainty(problem) {
    const timed = problem.rows.filter((row) => row.seconds && !row.why);
    if (!timed.length) return ["can't tell", ""];
    if (timed.some((row) => row.outcome === "win")) {
      return ["sure", "The 95% intervals, over processes, tell it from every other."];
    }
    if (timed.some((row) => row.outcome === "tie")) {
      return ["a tie", "The 95% interval of a ratio to the fastest holds 1×."];
    }
    return ["can't tell", `°: fewer than ${data.fewest} processes were measured, so that there is no interval.`];
  }

  function table(problem) {
    const longest = Math.max(...problem.rows.map((row) => (row.seconds ? row.seconds[0] : 0)));
    const heads = ["", "time", "", "over the fastest", "dense over it", "memory (over dense)", ""];
    const body = problem.rows.map((row) => {
      const bar = element("span", { className: row.why && row.seconds ? "bar hollow" : "bar" });
      if (row.seconds) {
        bar.style.setProperty("--share", row.seconds[0] / longest);
        bar.style.setProperty("--colour", colour(row.name));
      }
      const mark = row.seconds && row.why ? "!" : "";
      const memory = row.memory === null ? "" : quantity(row.memory, "B");
      return element("tr", { className: row.outcome },
        element("th", { scope: "row", textContent: row.name }),
        element("td", { textContent: row.seconds ? seconds(row.seconds) + mark : row.status }),
        element("td", {}, row.seconds ? bar : ""),
        element("td", { textContent: ratios(row.behind) }),
        element("td", { textContent: ratios(row.speedup) }),
        element("td", { textContent: row.share === null ? memory : `${memory} (${ratio(row.share)})` }),
        element("td", { className: "why", textContent: row.why || { win: "fastest", tie: "tie" }[row.outcome] || "" }));
    });
    return element("table", {},
      element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col", textContent: text })))),
      element("tbody", {}, ...body));
  }

  const colour = (name) => (data.colours[name] === "#000000" ? "var(--text)" : data.colours[name]);

  // Speed-up over dense against density, both logarithmic: every halving has the same width.
  function plot(problem) {
    const same = (other) => data.fields.every((name) => name === "sparsity" || other[name] === problem[name]);
    const curve = problems.filter(same).sort((a, b) => a.sparsity - b.sparsity);
    const points = curve.flatMap((each) => each.rows
      .filter((row) => row.speedup && row.name !== BASELINE)
      .map((row) => ({ ...row, sparsity: each.sparsity })));
    if (curve.length < 2 || !points.length) return "";
    const [width, height, left, right, top, bottom] = [560, 300, 48, 12, 14, 40];
    const densities = curve.map((each) => 1 - each.sparsity);
    const values = points.flatMap(({ speedup }) => speedup.filter((value) => value !== null));
    const span = (list, pad) => [Math.log(Math.min(...list) / pad), Math.log(Math.max(...list) * pad)];
    const [x0, x1] = span(densities, 1.15);
    const [y0, y1] = span([...values, 1], 1.15);
    const x = (sparsity) => left + ((x1 - Math.log(1 - sparsity)) / (x1 - x0)) * (width - left - right);
    const y = (value) => height - bottom - ((Math.log(value) - y0) / (y1 - y0)) * (height - top - bottom);
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": "Speed-up over dense by sparsity; the numbers are in the table" });
    const label = (text, at, anchor) =>
      svg.append(drawn("text", { x: at[0], y: at[1], "text-anchor": anchor }, text));
    const steps = y1 - y0 > Math.log(300) ? [1] : [1, 2, 5];
    for (let power = -4; power <= 5; power += 1) {
      for (const step of steps) {
        const value = step * 10 ** power;
        if (Math.log(value) < y0 || Math.log(value) > y1) continue;
        svg.append(drawn("line", { x1: left, x2: width - right, y1: y(value), y2: y(value),
          class: value === 1 ? "one" : "grid" }));
        label(`${Number(value.toPrecision(1))}×`, [left - 6, y(value) + 4], "end");
      }
    }
    let free = Infinity;
    for (const each of [...curve].reverse()) {
      if (free - x(each.sparsity) < 38) continue;
      free = x(each.sparsity);
      label(percent(each.sparsity), [free, height - bottom + 16], "middle");
    }
    label("sparsity", [(left + width) / 2, height - 6], "middle");
    svg.append(drawn("line", { x1: x(problem.sparsity), x2: x(problem.sparsity), y1: top,
      y2: height - bottom, class: "here" }));
    for (const name of new Set(points.map((point) => point.name))) {
      const own = points.filter((point) => point.name === name);
      const line = own.map(({ sparsity, speedup }) => `${x(sparsity)},${y(speedup[0])}`).join(" ");
      svg.append(drawn("polyline", { points: line, stroke: colour(name) }));
      for (const point of own) {
        const at = x(point.sparsity);
        if (known(point.speedup)) {
          svg.append(drawn("line", { x1: at, x2: at, y1: y(point.speedup[1]), y2: y(point.speedup[2]),
            stroke: colour(name) }));
        }
        const dot = drawn("circle", { cx: at, cy: y(point.speedup[0]), r: 4.5, stroke: colour(name),
          fill: point.why ? "var(--back)" : colour(name), tabindex: 0 },
        drawn("title", {}, `${name}, ${percent(point.sparsity)}: ${ratios(point.speedup)}, ${seconds(point.seconds)}`));
        dot.addEventListener("click", () => { chosen.sparsity = point.sparsity; show(); });
        svg.append(dot);
      }
    }
    const names = [...new Set(points.map((point) => point.name))];
    const legend = element("p", { className: "legend" }, ...names.map((name) => {
      const key = element("span", { textContent: name });
      key.style.setProperty("--colour", colour(name));
      return key;
    }));
    return element("figure", {}, element("figcaption", { textContent: "Speed-up over dense by sparsity" }), svg, legend);
  }

  // What measures the same again, here or on another machine.
  function command(problem) {
    const [inputs, outputs, kernel, stride, padding, groups, image] = data.layers[problem.layer];
    const names = problem.rows.map((row) => row.name);
    const on = `--threads ${problem.threads} --device ${problem.device} --dtype ${problem.dtype}`;
    const what = `--batch ${problem.batch} --sparsity ${problem.sparsity} --phase ${problem.phase} `
      + `${on} --implementation ${names.join(",")}`;
    const usual = problem.topology === "random" && problem.seed === 0
      && Object.entries(data.usual).every(([name, value]) => problem[name] === value)
      && ["inference", "forward_backward", "train_step"].includes(problem.phase);
    if (usual && problem.operation === "linear") {
      return `sparsebench compare-linear --in ${inputs} --out ${outputs} ${what}`;
    }
    if (usual && problem.operation === "conv2d") {
      return `sparsebench compare-conv2d --channels ${inputs},${outputs} --image ${image} `
        + `--kernel ${kernel} --stride ${stride} --padding ${padding} --groups ${groups} ${what}`;
    }
    if (!data.sweeps.includes(problem.chapter)) {
      return ""; // of a file of somebody's own: nobody knows where it is
    }
    const topology = /[^\w:@./-]/.test(problem.topology) ? `'topology=${problem.topology}'` : `topology=${problem.topology}`;
    return `sparsebench run ${problem.chapter} -f in_features=${inputs} -f out_features=${outputs} `
      + `-f sparsity=${problem.sparsity} -f batch=${problem.batch} -f phase=${problem.phase} `
      + `-f dtype=${problem.dtype} -f seed=${problem.seed} -f ${topology} `
      + Object.keys(data.usual).map((name) => `-f ${name}=${problem[name]} `).join("")
      + `--threads ${problem.threads} --device ${problem.device}`;
  }

  const answer = element("div", { className: "answer" });
  answer.setAttribute("aria-live", "polite");
  function show() {
    const problem = choose();
    const [sure, why] = certainty(problem);
    const marked = problem.rows.some((row) => row.seconds && row.why)
      ? element("p", { className: "conditions", textContent: "!: disturbed by other work, decides nothing" }) : "";
    const scroll = element("div", { className: "scroll", tabIndex: 0 }, table(problem));
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "All implementations");
    const again = command(problem);
    const origin = `Records: ${problem.source}; PyTorch ${problem.torch}, sparsebench at ${problem.commit}. `
      + (again ? "Measure it again: " : "");
    answer.replaceChildren(
      element("p", { className: "said", textContent: sentence(problem) }),
      element("p", { className: "sure" }, element("strong", { textContent: sure }), ` ${why}`),
      element("div", { className: "both" }, element("div", {}, scroll, marked), plot(problem)),
      element("p", { className: "conditions" }, origin, ...(again ? [element("code", { textContent: again })] : [])));
  }

  if (!problems.length) {
    place.replaceChildren(element("p", { textContent: "No record has a layer that was timed." }));
    return;
  }
  const told = new URLSearchParams(location.hash.startsWith("#explore&") ? location.hash.slice(9) : "");
  for (const [name, value] of told) if (name in selects) chosen[name] = WORDS.has(name) ? value : Number(value);
  if (!told.size) {
    // Begin with what was compared best where most was measured, next to what is typical.
    const counts = {};
    for (const { where } of problems) counts[where] = (counts[where] ?? 0) + 1;
    const rank = (problem) => [counts[problem.where], problem.rows.length, data.phases.indexOf(problem.phase)];
    const best = problems.reduce((a, b) => {
      const [x, y] = [rank(a), rank(b)];
      const differs = x.findIndex((value, n) => value !== y[n]);
      return differs >= 0 && y[differs] > x[differs] ? b : a;
    });
    for (const name of ["where", "dtype", "operation", "phase", "topology", ...Object.keys(data.usual)]) chosen[name] = best[name];
  }
  place.replaceChildren(form, answer);
  show();
})();
