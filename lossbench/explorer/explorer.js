// The explorer's one script: it blends tables that Python computed, draws them and reads out where they cross. It knows
// no loss. The widget of a notebook (anywidget) and a page without a kernel both call `mount`.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 46, RIGHT = 10, TOP = 38, BOTTOM = 36; // pixels around the axes of a picture
const SAME = 2e-6; // relative difference that single precision does not tell from none
const DECADES = 6; // how far down a logarithmic panel reaches
const HALVINGS = 26; // of the distance between two points of a grid: to the seventh digit and beyond
const REST = 350; // ms without a move after which networks are trained
const SIDES = ["left", "right"];
const PANELS = {
  p: [
    {quantity: "loss", symbol: "L", words: "the loss", unit: "nats, or the loss's own unit", coverage: 0.96},
    {quantity: "slope_z", symbol: "dL/dz", words: "pull on the logit", unit: "L per unit of z", coverage: 0.98},
    {quantity: "curvature", symbol: "", words: "", unit: "", coverage: 0.96},
    {quantity: "slope_p", symbol: "dL/dp", words: "slope in p", unit: "L per unit of p", coverage: 0.7},
  ],
  z: [
    {quantity: "loss", symbol: "L", words: "the loss", unit: "nats, or the loss's own unit", coverage: 1},
    {quantity: "slope_z", symbol: "dL/dz", words: "pull on the logit", unit: "L per unit of z", coverage: 1},
    {quantity: "curvature", symbol: "", words: "", unit: "", coverage: 1},
    {quantity: "p", symbol: "p", words: "probability of the target", unit: "", coverage: 1},
  ],
};
const CURVATURE = {
  z: {symbol: "d²L/dz²", words: "curvature", unit: "L per unit of z²", coverage: 0.98},
  p: {symbol: "d²L/dp²", words: "curvature", unit: "L per unit of p²", coverage: 0.6},
};
const X = {
  p: {words: "p, probability of the target", low: 0, high: 1, ticks: [0, 0.2, 0.4, 0.6, 0.8, 1]},
  z: {words: "z, logit of the target (others 0)", low: -8, high: 8, ticks: [-8, -4, 0, 4, 8]},
};
const CROSSED = {loss: "loss", slope_z: "pull on the logit"};

// ---- Tables ---------------------------------------------------------------------------------------------------------

function decode(table) {
  if (table.error || table.data) return table;
  const bytes = Uint8Array.from(atob(table.values), letter => letter.charCodeAt(0));
  if (table.unit === undefined) table.data = new Float32Array(bytes.buffer);
  else table.data = Float64Array.from(new Uint16Array(bytes.buffer), level => table.lowest + table.unit * level);
  table.size = table.data.length / table.sliders.reduce((size, slider) => size * slider.nodes.length, 1);
  if (table.grid) table.nodes = Float64Array.from({length: table.grid[2]}, (_, i) => table.grid[0] + table.grid[1] * i);
  return table;
}

// What each node of a slider contributes at x: its neighbours alone, or a polynomial through all.
function weights({nodes, local}, x) {
  if (!local) {
    return nodes.map(node => nodes.reduce((product, other) =>
      other === node ? product : product * (x - other) / (node - other), 1));
  }
  const after = Math.min(Math.max(nodes.findIndex(node => node >= x - 1e-9), 1), nodes.length - 1);
  const share = (x - nodes[after - 1]) / (nodes[after] - nodes[after - 1]);
  return nodes.map((_, i) => i === after ? share : i === after - 1 ? 1 - share : 0);
}

// The table at a setting of its sliders: `size` numbers. The last eight settings are remembered: sides share tables.
function blend(table, params) {
  const at = table.sliders.map(slider => params[slider.name]).join();
  table.blends ??= new Map();
  if (table.blends.has(at)) return table.blends.get(at);
  let parts = [[1, 0]];
  table.sliders.forEach(slider => {
    const shares = weights(slider, params[slider.name]);
    parts = parts.flatMap(([share, place]) => shares.map((w, i) => [share * w, place * shares.length + i]));
  });
  const blended = new Float64Array(table.size);
  for (const [share, place] of parts) {
    if (share === 0) continue;
    const start = place * table.size;
    for (let i = 0; i < table.size; i++) blended[i] += share * table.data[start + i];
  }
  if (table.blends.size >= 8) table.blends.delete(table.blends.keys().next().value);
  table.blends.set(at, blended);
  return blended;
}

// Value, slope and curvature at x: polynomials of degree five and three that meet what the nodes hold, and one through
// the curvatures of `around` nodes, none for 0. Derivatives are not taken of interpolated values: that would blow up rounding.
function between(nodes, rows, first, x, around = 6) {
  const n = nodes.length;
  if (!(x >= nodes[0] - 1e-9 && x <= nodes[n - 1] + 1e-9)) return [NaN, NaN, NaN];
  let low = 0, high = n - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (nodes[middle] <= x) low = middle; else high = middle;
  }
  const value = first * n, slope = value + n, curvature = slope + n, h = nodes[high] - nodes[low], t = (x - nodes[low]) / h;
  const d0 = rows[slope + low], d1 = rows[slope + high], s0 = rows[curvature + low], s1 = rows[curvature + high];
  const a0 = rows[value + low], a1 = h * d0, a2 = h * h * s0 / 2;
  const A = rows[value + high] - a0 - a1 - a2, B = h * d1 - a1 - 2 * a2, C = h * h * s1 - 2 * a2;
  const a3 = 10 * A - 4 * B + C / 2, a4 = 7 * B - 15 * A - C, a5 = 6 * A - 3 * B + C / 2;
  const D = d1 - d0 - h * s0, E = h * (s1 - s0), window = Math.min(Math.max(low + 1 - around / 2, 0), n - around);
  let bend = around ? 0 : NaN;
  for (let i = window; i < window + around; i++) {
    let share = 1;
    for (let k = window; k < window + around; k++) if (k !== i) share *= (x - nodes[k]) / (nodes[i] - nodes[k]);
    bend += share * rows[curvature + i];
  }
  return [
    a0 + t * (a1 + t * (a2 + t * (a3 + t * (a4 + t * a5)))),
    d0 + t * (h * s0 + t * (3 * D - E + t * (E - 2 * D))),
    bend,
  ];
}

// ---- Curves: a side as a function of its logit ----------------------------------------------------------------------

// `tables` holds the loss's and the probability function's; both are blended at the side's sliders.
function curveOf(tables, side, numClasses) {
  const lossTable = tables.loss, probabilityTable = tables.probability;
  const loss = blend(lossTable, side.params), odds = blend(probabilityTable, side.probability_params);
  const offset = Math.log(numClasses - 1), {nodes} = probabilityTable;
  const testRow = 3 * nodes.length;
  let lowest = 0; // the branch on which p rises begins here
  for (let i = 0; i < nodes.length && nodes[i] <= 8; i++) if (odds[testRow + i] < odds[testRow + lowest]) lowest = i;

  function positionAt(z) {
    const training = between(nodes, odds, 0, z), [test, testSlope, testCurvature] = between(nodes, odds, 3, z);
    const p = 1 / (1 + Math.exp(offset - test)), dp = p * (1 - p) * testSlope;
    return {z, p, training, dp, ddp: p * (1 - p) * ((1 - 2 * p) * testSlope * testSlope + testCurvature)};
  }

  function lossAt({z, p, training: [train, trainSlope, trainCurvature], dp, ddp}) {
    const onLogits = lossTable.over === "z"; // such losses have corners, through which no high polynomial goes
    let [value, slope, curvature] = between(lossTable.nodes, loss, 0, onLogits ? z : train - offset, onLogits ? 2 : 6);
    if (lossTable.log) {
      value = Math.exp(value);
      [slope, curvature] = [value * slope, value * (slope * slope + curvature)];
    }
    if (!onLogits) {
      [slope, curvature] = [slope * trainSlope, curvature * trainSlope * trainSlope + slope * trainCurvature];
    }
    const slope_p = slope / dp, bend = (curvature - slope_p * ddp) / (dp * dp);
    const curvature_p = p < 5e-4 ? NaN : bend; // below, single precision cannot tell
    return {z, p, loss: value, slope_z: slope, curvature_z: curvature, slope_p, curvature_p};
  }

  function logitOf(p) {
    const wanted = Math.log(p / (1 - p)) + offset;
    if (wanted < odds[testRow + lowest]) return NaN;
    let low = lowest, high = nodes.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (odds[testRow + middle] <= wanted) low = middle; else high = middle;
    }
    let [a, b] = [nodes[low], nodes[high]], z = a + (b - a) * 0.5;
    for (let i = 0; i < 30 && b - a > 1e-13 * Math.max(1, Math.abs(a)); i++) { // Newton, kept between the nodes
      const [odd, slope] = between(nodes, odds, 3, z, 0);
      if (odd > wanted) b = z; else a = z;
      const next = z - (odd - wanted) / slope;
      if (Math.abs(next - z) < 1e-12) return next;
      z = next > a && next < b ? next : (a + b) / 2;
    }
    return z;
  }
  return {
    along: axis => x => lossAt(positionAt(axis === "p" ? logitOf(x) : x)),
    // All points of the axis's grid; a slider of the loss moves no logit, so these are remembered.
    overGrid: axis => {
      const known = POSITIONS.get(odds) || POSITIONS.set(odds, {}).get(odds);
      const positions = known[axis + numClasses] ??= GRIDS[axis].map(x => positionAt(axis === "p" ? logitOf(x) : x));
      return positions.map(lossAt);
    },
  };
}

const POSITIONS = new WeakMap();

const GRIDS = {
  p: (() => {
    const ends = Array.from({length: 10}, (_, i) => 0.001 * 10 ** (i / 10));
    const middle = Array.from({length: 99}, (_, i) => (i + 1) / 100);
    return [...ends, ...middle, ...ends.map(p => 1 - p).reverse()];
  })(),
  z: Array.from({length: 129}, (_, i) => (i - 64) / 8),
};

function difference(left, right, quantity) {
  const [a, b] = [Math.abs(left[quantity]), Math.abs(right[quantity])];
  return Math.abs(a - b) <= SAME * Math.max(a, b) ? 0 : a - b;
}

// Where the sizes of a quantity swap places: from points on the grid, then by halving. Ties stay in the middle.
function crossings(points, along, grid, quantity) {
  const found = [];
  let before = -1, sign = 0;
  grid.forEach((_, i) => {
    const here = difference(points[0][i], points[1][i], quantity);
    if (Number.isNaN(here)) { before = -1; return; }
    if (here === 0) return;
    if (before >= 0 && Math.sign(here) !== sign) found.push([grid[before], grid[i], sign]);
    [before, sign] = [i, Math.sign(here)];
  });
  return found.map(([low, high, was]) => {
    let tied = false;
    const edge = inside => { // the last place with the old sign, or the first with the new
      let [a, b] = [low, high];
      for (let i = 0; i < HALVINGS; i++) {
        const middle = (a + b) / 2, now = Math.sign(difference(along[0](middle), along[1](middle), quantity));
        tied ||= now === 0;
        if (inside(now)) a = middle; else b = middle;
      }
      return (a + b) / 2;
    };
    const first = edge(now => now === was), at = tied ? (first + edge(now => now !== -was)) / 2 : first;
    return {at, value: along[0](at)[quantity], larger_after: was > 0 ? "right" : "left"};
  });
}

// ---- Words and code -------------------------------------------------------------------------------------------------

const brief = value => typeof value === "boolean" ? (value ? "True" : "False")
  : typeof value === "number" ? String(+value.toPrecision(6)) : String(value);

function written(value, control) {
  if (typeof value === "string") return `"${value}"`;
  if (typeof value === "boolean") return brief(value);
  const text = String(+value.toPrecision(10));
  return control && control.kind === "slider" && !control.whole && Number.isInteger(value) ? `${text}.0` : text;
}

// The parameters of an entry in its own order: `part` writes those with a control, `fixed` holds the others as text.
function parameterTexts(entry, params, fixed, part) {
  return entry.order.map(name => name in params ? part(name, params[name], entry.controls[name]) : fixed[name])
    .filter(Boolean);
}

function labelOf(entries, side) {
  const part = entry => (name, value) =>
    entry.shown.includes(name) || value !== entry.defaults[name] ? `${entry.symbols[name] || name}=${brief(value)}` : "";
  const loss = entries.losses[side.loss], probability = entries.probabilities[side.probability];
  const words = [side.loss, ...parameterTexts(loss, side.params, side.fixed.label, part(loss))];
  if (loss.reconstruction) words.push("(reconstruction)");
  if (side.probability === "softmax") return words.join(" ");
  const second = [side.probability, ...parameterTexts(probability, side.probability_params, {}, part(probability))];
  return `${words.join(" ")}, ${second.join(" ")}`;
}

function sideCode(entries, side) {
  const loss = entries.losses[side.loss], probability = entries.probabilities[side.probability];
  const parts = [`"${side.loss}"`, ...parameterTexts(loss, side.params, side.fixed.code, (name, value, control) =>
    loss.shown.includes(name) || value !== loss.starts[name] ? `${name}=${written(value, control)}` : "")];
  if (side.probability !== "softmax") parts.push(`probability="${side.probability}"`);
  const changed = Object.entries(side.probability_params).filter(([name, value]) => value !== probability.defaults[name])
    .map(([name, value]) => `"${name}": ${written(value, probability.controls[name])}`);
  if (changed.length) parts.push(`probability_params={${changed.join(", ")}}`);
  return `side(${parts.join(", ")})`;
}

function codeOf(entries, state, start) {
  const parts = SIDES.map(name => `${name}=${sideCode(entries, state[name])}`);
  const others = state.others.map(side => sideCode(entries, side)).join(", ");
  if (others !== start.others.map(side => sideCode(entries, side)).join(", ")) parts.push(`others=[${others}]`);
  const plain = {axis: 0, scale: 0, curvature: 0, num_classes: 0, noise: {kind: "slider"}, seed: 0};
  for (const [name, control] of Object.entries(plain)) {
    if (state[name] !== start[name]) parts.push(`${name}=${written(state[name], control)}`);
  }
  if (state.preset) parts.unshift(`preset="${state.preset}"`);
  return `explore(${parts.join(", ")})`;
}

const digits = value => Math.abs(value) < 5e-4 ? "0" : String(+value.toPrecision(4)).replace("-", "\u2212");

function sentence(quantity, axis, found, points) {
  if (found.length) {
    return `${CROSSED[quantity]}: ` + found.map(one => `${one.larger_after} is larger from ${axis} = ${digits(one.at)}`).join(", then ");
  }
  const signs = new Set(points[0].map((point, i) => Math.sign(difference(point, points[1][i], quantity))).filter(Boolean));
  const verdict = signs.size === 0 ? "the two are equal" : signs.size > 1 ? "no crossing"
    : `${signs.has(1) ? "left" : "right"} is larger throughout`;
  return `${CROSSED[quantity]}: ${verdict}`;
}

// ---- Axes -----------------------------------------------------------------------------------------------------------

function quantile(sorted, share) {
  const place = share * (sorted.length - 1), low = Math.floor(place);
  return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

function niceStep(size) {
  const power = 10 ** Math.floor(Math.log10(size));
  return [1, 2, 5, 10].map(factor => factor * power).find(step => step >= size * (1 - 1e-9));
}

// Limits around the middle `coverage` of the values; the present ones as long as they serve.
function limitsOf(values, coverage, scale, present) {
  const sorted = Float64Array.from(values.filter(Number.isFinite)).sort(), tail = (1 - coverage) / 2;
  if (!sorted.length) return present || [0, 1];
  let [low, high] = [quantile(sorted, tail), quantile(sorted, 1 - tail)];
  if (scale === "log") {
    const top = Math.ceil(high - 1e-9);
    return [Math.max(Math.floor(low), top - DECADES) - 0.1, top + 0.1];
  }
  [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  if (high - low < 1e-12) return present || [0, 1];
  if (present && present[0] <= low && high <= present[1] && high - low > 0.4 * (present[1] - present[0])) return present;
  const step = niceStep((high - low) / 4), margin = step / 5;
  return [low < -margin ? step * Math.floor(low / step) : -margin, high > margin ? step * Math.ceil(high / step) : margin];
}

function ticksOf([low, high], scale) {
  const step = scale === "log" ? Math.max(1, Math.ceil((high - low) / 5)) : niceStep((high - low) / 5);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(+(k * step).toPrecision(10));
  return ticks;
}

const POWERS = [..."⁰¹²³⁴⁵⁶⁷⁸⁹"];
const tickLabel = (value, scale) => scale === "log"
  ? `10${value < 0 ? "⁻" : ""}${[...String(Math.abs(Math.round(value)))].map(digit => POWERS[digit]).join("")}`
  : String(value).replace("-", "\u2212");
const toScale = (value, scale) => scale === "log" ? (value ? Math.log10(Math.abs(value)) : NaN) : value;

// ---- Elements -------------------------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (["select", "input", "textarea"].includes(tag)) element.dataset.lmSuppressShortcuts = "true"; // JupyterLab's keys
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && typeof value !== "string") element[name] = value; else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

let made = 0; // makes identifiers unique on a page with several explorers

// A picture with axes. Curves, marks and ticks live in groups of their own, so that a step touches little.
class Panel {
  constructor(holder) {
    this.figure = make("div", {class: "lb-panel"});
    this.clip = `lb-clip-${++made}`;
    this.svg = draw("svg", {role: "img"});
    this.frame = draw("rect", {x: LEFT, y: TOP - 3});
    this.svg.append(draw("clipPath", {id: this.clip}, this.frame));
    this.title = this.svg.appendChild(draw("text", {x: 4, y: 13, class: "lb-title"}));
    this.unit = this.svg.appendChild(draw("text", {x: 4, y: 27, class: "lb-unit"}));
    this.axes = this.svg.appendChild(draw("g", {class: "lb-axes"}));
    this.plot = this.svg.appendChild(draw("g", {"clip-path": `url(#${this.clip})`}));
    this.lines = {};
    this.note = make("p", {class: "lb-note"});
    this.figure.append(this.svg, this.note);
    holder.append(this.figure);
  }

  // One pixel of the page is one unit, so that letters keep their size. Returns whether the size is another.
  resize() {
    const {clientWidth: width, clientHeight: height} = this.svg;
    if (width === this.width && height === this.height) return false;
    Object.assign(this, {width, height, look: "", shown: null});
    this.frame.setAttribute("width", Math.max(width - LEFT - RIGHT, 1));
    this.frame.setAttribute("height", Math.max(height - TOP - BOTTOM + 6, 1));
    return true;
  }

  x(value) { return LEFT + (value - this.range.low) / (this.range.high - this.range.low) * (this.width - LEFT - RIGHT); }

  y(value) { return TOP + (this.limits[1] - value) / (this.limits[1] - this.limits[0]) * (this.height - TOP - BOTTOM); }

  setTitle(title, unit) {
    if (this.title.textContent !== title) this.title.textContent = title;
    if (this.unit.textContent !== unit) this.unit.textContent = unit;
  }

  setAxes(range, limits, scale, chance) {
    const look = JSON.stringify([range, limits, scale, chance]);
    if (look === this.look) return false;
    Object.assign(this, {look, range, limits, scale});
    const bottom = this.height - BOTTOM, right = this.width - RIGHT, parts = [];
    const text = (x, y, words, anchor) => parts.push(draw("text", {x, y, "text-anchor": anchor}, words));
    for (const value of ticksOf(limits, scale)) {
      const y = this.y(value).toFixed(1);
      parts.push(draw("path", {d: `M${LEFT} ${y}H${right}`, class: value === 0 && scale !== "log" ? "lb-zero" : "lb-grid"}));
      text(LEFT - 5, +y + 3.5, tickLabel(value, scale), "end");
    }
    for (const value of range.ticks) text(this.x(value), bottom + 13, tickLabel(value, "linear"), "middle");
    text((LEFT + right) / 2, this.height - 7, range.words, "middle");
    parts.push(draw("path", {d: `M${LEFT} ${TOP - 3}V${bottom}H${right}`, class: "lb-frame"}));
    if (chance) parts.push(draw("path", {d: `M${this.x(chance).toFixed(1)} ${TOP - 3}V${bottom}`, class: "lb-chance"}));
    this.axes.replaceChildren(...parts);
    return true;
  }

  setPath(name, d) {
    let line = this.lines[name];
    if (!line) {
      line = this.lines[name] = draw("path", {class: `lb-line lb-${name}`});
      this.plot.insertBefore(line, name.startsWith("other") ? this.plot.firstChild : null); // behind the two sides
    }
    if (line.drawn !== d) line.setAttribute("d", line.drawn = d);
  }

  // A line through points; what lies far outside is cut near the frame, so that no number gets too large to draw.
  curve(xs, ys) {
    const [low, high] = this.limits, room = high - low;
    let d = "", pen = "M";
    for (let i = 0; i < xs.length; i++) {
      if (Number.isNaN(ys[i])) { pen = "M"; continue; }
      const y = this.y(Math.min(high + room, Math.max(low - room, ys[i])));
      d += `${pen}${this.x(xs[i]).toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
    }
    return d;
  }

  circles(places, radius) {
    return places.map(([x, y]) => `M${(x - radius).toFixed(1)} ${y.toFixed(1)}a${radius} ${radius} 0 1 0 ${2 * radius} 0`
      + `a${radius} ${radius} 0 1 0 ${-2 * radius} 0`).join("");
  }

  setNote(words) {
    if (this.note.textContent !== words) this.note.textContent = words;
    this.figure.classList.toggle("lb-missing", Boolean(words));
  }

  describe(words) {
    if (this.words !== words) this.svg.setAttribute("aria-label", this.words = words);
  }
}

// ---- Moons ----------------------------------------------------------------------------------------------------------

// Segments of the level line of a grid of values, as path data; x and y turn columns and rows into places.
function contour(values, columns, rows, level, x, y) {
  let d = "";
  const cut = (a, b) => (level - a) / (b - a);
  for (let r = 0; r < rows - 1; r++) {
    for (let c = 0; c < columns - 1; c++) {
      const i = r * columns + c, v = [values[i], values[i + 1], values[i + columns + 1], values[i + columns]];
      if (v.every(value => value > level) || v.every(value => value <= level)) continue;
      const corners = [[c, r], [c + 1, r], [c + 1, r + 1], [c, r + 1]], crossed = [];
      for (let k = 0; k < 4; k++) {
        const a = v[k], b = v[(k + 1) % 4];
        if (a > level === b > level) continue;
        const t = cut(a, b), [from, to] = [corners[k], corners[(k + 1) % 4]];
        crossed.push([x(from[0] + t * (to[0] - from[0])), y(from[1] + t * (to[1] - from[1]))]);
      }
      for (let k = 0; k + 1 < crossed.length; k += 2) {
        d += `M${crossed[k].map(n => n.toFixed(1)).join(" ")}L${crossed[k + 1].map(n => n.toFixed(1)).join(" ")}`;
      }
    }
  }
  return d;
}

class MoonsPanel extends Panel {
  constructor(holder) {
    super(holder);
    this.canvas = make("canvas");
    this.figure.prepend(this.canvas);
    this.figure.classList.add("lb-moons");
    this.canvas.style.inset = `${TOP}px ${RIGHT}px ${BOTTOM}px ${LEFT}px`;
  }

  show(surface, points, setup, title) {
    const {across, up, columns, rows} = setup.plane;
    const right = surface.accuracy === null ? "" : `${(100 * surface.accuracy).toFixed(1)} % right, flips undone`;
    this.setTitle(title, surface.at ? `at ${surface.at}: ${right}` : right);
    this.setAxes({words: "first coordinate (up: second)", low: across[0], high: across[1], ticks: [-1, 0, 1, 2]}, up, "linear", 0);
    this.setPoints(points);
    const missing = surface.values === null;
    this.canvas.hidden = missing;
    for (const name of ["sure", "boundary"]) this.setPath(name, "");
    if (missing) return;
    const values = Uint8Array.from(atob(surface.values), letter => letter.charCodeAt(0));
    this.paint(values, columns, rows);
    const x = column => this.x(across[0] + column / (columns - 1) * (across[1] - across[0]));
    const y = row => this.y(up[0] + row / (rows - 1) * (up[1] - up[0]));
    const level = share => contour(values, columns, rows, 255 * share, x, y);
    this.setPath("sure", level(0.1) + level(0.9));
    this.setPath("boundary", level(0.5));
  }

  setPoints({points, target, truth}) {
    const places = points.map(([x, y]) => [this.x(x), this.y(y)]);
    this.setPath("class-0", this.circles(places.filter((_, i) => target[i] === 0), 2));
    this.setPath("class-1", places.filter((_, i) => target[i] === 1)
      .map(([x, y]) => `M${x.toFixed(1)} ${(y - 2.6).toFixed(1)}l2.4 4.4h-4.8z`).join(""));
    this.setPath("flipped", this.circles(places.filter((_, i) => target[i] !== truth[i]), 4));
  }

  // Blue where the network believes in class 0, orange in class 1, and the page's own colour where it cannot tell.
  paint(values, columns, rows) {
    Object.assign(this.canvas, {width: columns, height: rows});
    const context = this.canvas.getContext("2d"), image = context.createImageData(columns, rows);
    values.forEach((value, i) => {
      const pixel = 4 * ((rows - 1 - Math.floor(i / columns)) * columns + i % columns), sure = value / 127.5 - 1;
      image.data.set(sure > 0 ? [230, 159, 0, 190 * sure] : [0, 114, 178, -190 * sure], pixel);
    });
    context.putImageData(image, 0, 0);
  }
}

// ---- The explorer ---------------------------------------------------------------------------------------------------

class Explorer {
  // `link` reaches a kernel: ask(message) and save(state); without it, what `setup` holds is all there is.
  constructor(root, setup, state, link) {
    Object.assign(this, {root, setup, state: structuredClone(state), link, asked: new Set(), moved: {}});
    this.tables = setup.tables;
    this.surfaces = {};
    this.start = this.startOf(state.preset);
    root.classList.add("lossbench-explorer");
    this.build();
    this.follow();
    this.update();
    this.sized = new ResizeObserver(() => { if (this.resize()) this.update(); });
    this.sized.observe(this.pictures);
  }

  resize() { return [...this.panels, ...this.moons].map(panel => panel.resize()).some(Boolean); }

  startOf(preset) { return (this.setup.presets.find(one => one.name === preset) || {state: this.setup.start}).state; }

  // -- controls

  build() {
    this.controls = make("div", {class: "lb-controls"});
    this.pictures = make("div", {class: "lb-pictures"});
    this.alert = make("p", {class: "lb-alert", role: "alert"});
    this.buildHead();
    this.sideBoxes = Object.fromEntries(SIDES.map(name => [name, this.buildSide(name)]));
    this.buildView();
    this.panels = Array.from({length: 5}, () => new Panel(this.pictures));
    this.moons = SIDES.map(() => new MoonsPanel(this.pictures));
    this.legend = this.pictures.appendChild(make("div", {class: "lb-legend"}));
    this.words = make("ul", {class: "lb-words", role: "status"});
    this.line = make("textarea", {class: "lb-code", readOnly: true, rows: 2, "aria-label": "This view as code"});
    const stage = make("div", {class: "lb-stage"}, this.alert, this.pictures);
    this.root.replaceChildren(this.head, this.controls, stage,
      make("div", {class: "lb-foot"}, this.words, make("label", {class: "lb-codebox"}, "This view as code", this.line)));
  }

  buildHead() {
    const options = [["no preset", ""], ...this.setup.presets.map(one => [one.title, one.name])];
    this.preset = this.menu("preset", options, this.state.preset, name => this.setPreset(name));
    this.look = make("p", {class: "lb-look"});
    this.head = make("div", {class: "lb-head"}, this.preset.row, this.look);
  }

  menu(label, options, value, changed) {
    const select = make("select");
    options.forEach(([words, option], i) => select.add(make("option", {value: String(i)}, words)));
    const show = wanted => { select.selectedIndex = options.findIndex(([, option]) => option === wanted); };
    show(value);
    select.addEventListener("change", () => changed(options[select.selectedIndex][1]));
    return {row: make("label", {class: `lb-row lb-${label}`}, make("span", {}, label), select), show, select};
  }

  slider(label, control, value, changed) {
    const {low, high, step} = control;
    const input = make("input", {type: "range", min: String(Math.min(low, value)), max: String(Math.max(high, value)), step: String(step)});
    const output = make("output");
    const show = wanted => { input.value = wanted; output.textContent = brief(wanted); };
    show(value);
    input.addEventListener("input", () => {
      const moved = +(low + Math.round((input.value - low) / step) * step).toPrecision(10);
      output.textContent = brief(moved);
      changed(moved);
    });
    return {row: make("label", {class: "lb-row"}, make("span", {}, label), input, output), show};
  }

  buildSide(name) {
    const box = make("fieldset", {class: `lb-side lb-of-${name}`}, make("legend", {}, `${name} (${name === "left" ? "solid" : "dashed"})`));
    this.controls.append(box);
    const parts = {box, name};
    const names = kind => Object.keys(this.setup[kind]).map(one => [one, one]);
    parts.loss = this.menu("loss", names("losses"), this.state[name].loss, loss => this.setEntry(name, "loss", loss));
    parts.lossRows = make("div");
    parts.probability = this.menu("probability", names("probabilities"), this.state[name].probability,
      probability => this.setEntry(name, "probability", probability));
    parts.probabilityRows = make("div");
    box.append(parts.loss.row, parts.lossRows, parts.probability.row, parts.probabilityRows);
    this.layOut(parts);
    return parts;
  }

  // The controls of the parameters of a side's loss and probability function.
  layOut(parts) {
    const side = this.state[parts.name];
    parts.loss.show(side.loss);
    parts.probability.show(side.probability);
    for (const [entry, params, holder] of [
      [this.setup.losses[side.loss], side.params, parts.lossRows],
      [this.setup.probabilities[side.probability], side.probability_params, parts.probabilityRows],
    ]) {
      holder.replaceChildren(...Object.entries(entry.controls).map(([name, control]) => {
        const label = entry.symbols[name] ? `${name} ${entry.symbols[name]}` : name;
        const changed = value => { params[name] = value; this.moved[parts.name] = name; this.update(); };
        if (control.kind === "slider") return this.slider(label, control, params[name], changed).row;
        return this.menu(label, control.values.map(value => [brief(value), value]), params[name], changed).row;
      }));
    }
  }

  buildView() {
    const plain = (name, label, options) => this.menu(label, options, this.state[name], value => this.set(name, value));
    const moving = (name, label, control) => this.slider(label, control, this.state[name], value => this.set(name, value));
    const {classes, noises, seeds} = this.setup;
    this.view = {
      axis: plain("axis", "along", [["probability p", "p"], ["logit z", "z"]]),
      scale: plain("scale", "scale", [["linear", "linear"], ["log of the size", "log"]]),
      curvature: plain("curvature", "curvature", [["d²L/dz²", "z"], ["d²L/dp²", "p"]]),
      num_classes: classes ? plain("num_classes", "classes", classes.map(value => [String(value), value]))
        : moving("num_classes", "classes", {low: 2, high: 100, step: 1}),
      noise: noises ? plain("noise", "flipped", noises.map(value => [`${100 * value} %`, value]))
        : moving("noise", "flipped", {low: 0, high: 0.5, step: 0.05}),
      seed: seeds ? plain("seed", "seed", seeds.map(value => [String(value), value]))
        : moving("seed", "seed", {low: 0, high: 20, step: 1}),
    };
    const rows = Object.values(this.view).map(one => one.row);
    this.controls.append(make("fieldset", {class: "lb-view"}, make("legend", {}, "view"), ...rows.slice(0, 4)),
      make("fieldset", {class: "lb-view"}, make("legend", {}, "two moons"), ...rows.slice(4)));
  }

  set(name, value) {
    this.state[name] = value;
    this.update();
  }

  setEntry(side, kind, name) {
    const entry = this.setup[kind === "loss" ? "losses" : "probabilities"][name], state = this.state[side];
    state[kind] = name;
    const starts = Object.fromEntries(Object.keys(entry.controls).map(one => [one, entry.starts[one]]));
    if (kind === "loss") Object.assign(state, {params: starts, fixed: entry.fixed});
    else state.probability_params = starts;
    this.state.preset = ""; // its sentence speaks of other losses
    this.preset.show("");
    this.start = this.startOf("");
    this.layOut(this.sideBoxes[side]);
    this.update();
  }

  setPreset(name) {
    this.start = this.startOf(name);
    this.state = {...structuredClone(this.start), preset: name};
    SIDES.forEach(side => this.layOut(this.sideBoxes[side]));
    Object.entries(this.view).forEach(([key, control]) => control.show(this.state[key]));
    this.update();
  }

  // -- tables

  keyOf(kind, side) {
    const jumping = (entry, params) => Object.entries(entry.controls)
      .filter(([, control]) => control.kind !== "slider" || control.whole).map(([name]) => params[name]);
    const ofLoss = [side.loss, jumping(this.setup.losses[side.loss], side.params), side.fixed.key];
    const ofProbability = [side.probability, jumping(this.setup.probabilities[side.probability], side.probability_params)];
    const parts = {loss: [...ofLoss, this.state.num_classes], probability: ofProbability, batch: [...ofLoss, ...ofProbability]}[kind];
    return JSON.stringify([kind, ...parts]);
  }

  // A table that serves the side as it stands; null while a kernel is asked; an error without one.
  table(kind, side, name) {
    const key = this.keyOf(kind, side), params = {...side.probability_params, ...side.params};
    const serves = table => table.error || Object.entries(table.held).every(([held, value]) => params[held] === value);
    const known = (this.tables[key] || []).map(one => typeof one === "number" ? this.setup.distinct[one] : one);
    const table = known.find(serves);
    if (table) return this.check(decode(table), params, kind);
    if (!this.link) {
      const held = known.length ? Object.keys(known[0].held).map(one => `${one} = ${brief(known[0].held[one])}`).join(", ") : "";
      return {error: held ? `without a kernel this page knows ${held} only` : "without a kernel this page has no table for it"};
    }
    const wanted = JSON.stringify([key, params, this.moved[name] || ""]);
    if (!this.asked.has(wanted)) {
      this.asked.add(wanted);
      this.link.ask({kind, key, side, num_classes: this.state.num_classes, free: this.moved[name] || "", wanted});
    }
    return null;
  }

  check(table, params, kind) {
    if (table.error) return table;
    for (const {name, low, high} of table.sliders) {
      if (params[name] < low - 1e-9 || params[name] > high + 1e-9) {
        return {error: table.blocked[name] || `${name} = ${brief(params[name])} lies outside ${low} to ${high}`, kind};
      }
    }
    return table;
  }

  take(reply) {
    this.asked.delete(reply.wanted);
    if (reply.kind === "moons") {
      this.surfaces[reply.key] = reply;
      this.showMoons();
    } else {
      (this.tables[reply.key] ??= []).push(reply.table);
      this.update();
    }
  }

  // -- drawing

  update() {
    const {state, setup} = this, sides = [state.left, state.right, ...state.others];
    const tables = sides.map((side, i) => {
      const name = SIDES[i] || "";
      return {loss: this.table("loss", side, name), probability: this.table("probability", side, name)};
    });
    this.labels = sides.map(side => labelOf(setup, side));
    const message = this.problem(sides, tables);
    this.root.classList.toggle("lb-not-drawn", Boolean(message));
    const words = message ? `Not drawn: ${message}` : "";
    if (this.alert.textContent !== words) this.alert.textContent = words;
    this.line.value = message ? "" : codeOf(setup, state, this.start);
    this.save();
    const waits = tables.some(one => one.loss === null || one.probability === null);
    this.root.setAttribute("aria-busy", String(waits && !message));
    if (message || waits) return;
    if (!this.panels[0].width) return; // not on the page yet; sizes are read when they change, never in a step
    this.tellLook();
    this.drawCurves(sides, tables);
    this.drawBatch();
    this.askForMoons();
  }

  problem(sides, tables) {
    for (const [i, {loss, probability}] of tables.entries()) {
      const failed = [loss, probability].find(table => table && table.error);
      if (failed) return `${SIDES[i] || this.labels[i]}: ${failed.error}`;
      if (loss && loss.over === "both" && sides[i].probability !== "softmax") {
        return `${SIDES[i] || this.labels[i]}: ${sides[i].loss} reads logits and probabilities at once and is drawn on softmax alone`;
      }
    }
    return "";
  }

  drawCurves(sides, tables) {
    const {axis, num_classes: classes} = this.state, grid = GRIDS[axis];
    const curves = sides.map((side, i) => curveOf(tables[i], side, classes)), along = curves.map(curve => curve.along(axis));
    const keys = sides.map(side => JSON.stringify([side, axis, classes])); // what has not moved is not computed again
    const points = curves.map((curve, i) => keys[i] === this.keys?.[i] ? this.points[i] : curve.overGrid(axis));
    Object.assign(this, {points, keys});
    this.found = Object.fromEntries(Object.keys(CROSSED).map(quantity => [quantity, crossings(points, along, grid, quantity)]));
    PANELS[axis].forEach((spec, i) => this.drawPanel(this.panels[i], spec, grid, points));
    this.drawLegend();
    this.tell();
  }

  drawPanel(panel, spec, grid, points) {
    const {axis, curvature, num_classes: classes} = this.state;
    let {quantity} = spec;
    if (quantity === "curvature") {
      spec = {...CURVATURE[curvature], coverage: axis === "z" && curvature === "z" ? 1 : CURVATURE[curvature].coverage};
      quantity = `curvature_${curvature}`;
    }
    const scale = quantity === "p" ? "linear" : this.state.scale;
    const bars = scale === "log" ? "|" : "";
    panel.setTitle(`${bars}${spec.symbol}${bars}: ${spec.words}`, spec.unit);
    const values = points.map(rows => rows.map(row => toScale(row[quantity], scale)));
    if (panel.quantity !== quantity || panel.scale !== scale) panel.limits = undefined;
    panel.quantity = quantity;
    const limits = limitsOf([...values[0], ...values[1]], spec.coverage, scale, panel.limits);
    const other = panel.setAxes(X[axis], limits, scale, axis === "p" ? 1 / classes : 0);
    [1, 0, ...values.keys()].slice(0, values.length + 2).forEach((i, order) => { // left lies over right
      if (order > 1 && i < 2) return;
      if (other || panel.points?.[i] !== points[i] || panel.drawn !== quantity) {
        panel.setPath(SIDES[i] || `other-${i - 1}`, panel.curve(grid, values[i]));
      }
    });
    Object.assign(panel, {points, drawn: quantity});
    for (let i = values.length; i < 7; i++) if (panel.lines[`other-${i - 1}`]) panel.setPath(`other-${i - 1}`, "");
    const marks = (this.found[quantity] || []).map(one => [panel.x(one.at), panel.y(toScale(one.value, scale))]);
    panel.setPath("crossing", panel.circles(marks, 4.5));
    const crossed = (this.found[quantity] || []).map(one => `${axis} = ${digits(one.at)}`).join(", ");
    panel.describe(`${spec.symbol}, ${spec.words || quantity}, along ${axis}. Left, solid: ${this.labels[0]}. Right, dashed: `
      + `${this.labels[1]}.${crossed ? ` They cross at ${crossed}.` : ""}`);
  }

  drawBatch() {
    const panel = this.panels[4], {batch} = this.setup;
    const tables = SIDES.map(name => this.table("batch", this.state[name], name));
    const failed = tables.findIndex(table => table && table.error);
    panel.setTitle("|dL/dz|: 128 real images", "pull of each on all logits");
    panel.setNote(failed >= 0 ? `Not drawn: ${SIDES[failed]}: ${tables[failed].error}` : "");
    this.shares = null;
    if (failed >= 0) ["dots-left", "dots-right"].forEach(dots => panel.setPath(dots, ""));
    if (failed >= 0 || tables.includes(null)) return this.tell();
    const sizes = tables.map((table, i) => {
      const side = this.state[SIDES[i]], blended = blend(table, {...side.probability_params, ...side.params});
      return Array.from(blended, value => table.log ? value : Math.log10(Math.max(value, 1e-12)));
    });
    const drawn = sizes.map(values => values.map(value => value > -11.9 ? value : NaN));
    panel.setAxes({...X.p, words: "softmax p of the target"}, limitsOf(drawn.flat(), 1, "log"), "log", 0);
    const places = values => values.map((value, i) => [panel.x(batch.p[i]), panel.y(value)]).filter(([, y]) => Number.isFinite(y));
    panel.setPath("dots-right", places(drawn[1]).map(([x, y]) =>
      `M${(x - 2.4).toFixed(1)} ${(y - 2.4).toFixed(1)}l4.8 4.8m0 -4.8l-4.8 4.8`).join(""));
    panel.setPath("dots-left", panel.circles(places(drawn[0]), 2.2));
    this.shares = sizes.map(values => {
      const pulls = values.map(value => 10 ** value), sum = list => list.reduce((a, b) => a + b, 0);
      return sum(pulls.filter((_, i) => batch.wrong[i])) / sum(pulls);
    });
    this.tell();
    panel.describe(`Length of the gradient of 128 test images against their probability. ${this.shareWords()}`);
    return undefined;
  }

  shareWords() {
    const [left, right] = this.shares.map(share => `${Math.round(100 * share)} %`);
    return `pull on the batch that goes to wrongly classified images: left ${left}, right ${right}`;
  }

  tell() {
    const lines = Object.keys(CROSSED).map(quantity => sentence(quantity, this.state.axis, this.found[quantity], this.points));
    if (this.shares) lines.push(this.shareWords());
    const told = lines.join("|");
    if (told === this.told) return;
    this.told = told;
    this.words.replaceChildren(...lines.map(line => make("li", {}, line)));
  }

  tellLook() {
    const preset = this.setup.presets.find(one => one.name === this.state.preset);
    const words = preset ? `${preset.look} (${preset.source})` : "";
    if (this.look.textContent !== words) this.look.textContent = words;
  }

  drawLegend() {
    const told = JSON.stringify([this.labels, this.state.axis, this.state.num_classes]);
    if (told === this.legendTold) return;
    this.legendTold = told;
    const row = (kind, d, words) => make("div", {class: "lb-key"},
      draw("svg", {viewBox: "0 0 34 12", "aria-hidden": "true"}, draw("path", {class: `lb-line lb-${kind}`, d})), make("span", {}, words));
    const line = "M1 6H33", ring = "M12 6a5 5 0 1 0 10 0a5 5 0 1 0 -10 0";
    const rows = this.labels.map((label, i) => row(SIDES[i] || `other-${i - 1}`, line, i < 2 ? `${SIDES[i]}: ${label}` : label));
    rows.push(row("crossing", ring, "left and right cross"));
    if (this.state.axis === "p") rows.push(row("chance", line, `chance: p = 1/${this.state.num_classes}`));
    rows.push(row("boundary", line, "moons: boundary, p = ½"), row("sure", line, "moons: 90 % sure"),
      row("flipped", "M13 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", "moons: class flipped"));
    this.legend.replaceChildren(...rows);
  }

  // -- moons

  surfaceKey(side) { return JSON.stringify([side, this.state.noise, this.state.seed]); }

  askForMoons() {
    this.showMoons();
    clearTimeout(this.waiting);
    if (!this.link) return;
    this.waiting = setTimeout(() => {
      for (const name of SIDES) {
        const side = this.state[name], key = this.surfaceKey(side);
        if (this.surfaces[key] || this.asked.has(key)) continue;
        this.asked.add(key);
        this.link.ask({kind: "moons", key, wanted: key, side, noise: this.state.noise, seed: this.state.seed});
      }
    }, REST);
  }

  showMoons() {
    SIDES.forEach((name, i) => {
      const side = this.state[name], panel = this.moons[i];
      const known = this.surfaces[this.surfaceKey(side)] || (this.link ? null : this.nearest(side));
      panel.figure.classList.toggle("lb-waits", !known);
      if (!known || panel.shown === known && panel.label === this.labels[i]) return;
      Object.assign(panel, {shown: known, label: this.labels[i]});
      const points = known.points || this.setup.points[JSON.stringify([this.state.noise, this.state.seed])];
      panel.show(known, points, this.setup, `Two moons, ${name}`);
      panel.setNote(known.message || "");
      panel.describe(`Decision surface on two moons, trained with ${this.labels[i]}. ${panel.unit.textContent}`);
    });
  }

  // Without a kernel: the network whose sliders stand nearest, and where they stand.
  nearest(side) {
    const {losses, surfaces} = this.setup, controls = Object.entries(losses[side.loss].controls);
    const same = surfaces.filter(one => one.side.loss === side.loss && one.noise === this.state.noise && one.seed === this.state.seed);
    const refusal = same.find(one => one.message);
    if (refusal) return refusal;
    if (side.probability === "softmax") {
      const far = one => controls.reduce((sum, [name, control]) => {
        const [a, b] = [one.side.params[name], side.params[name]];
        return sum + (control.kind === "slider" && !control.whole ? ((a - b) / (control.high - control.low)) ** 2 : a === b ? 0 : 100);
      }, 0);
      const best = same.reduce((a, b) => !a || far(b) < far(a) ? b : a, null);
      if (best && far(best) < 100) {
        return best.known ??= {...best, at: controls.filter(([, one]) => one.kind === "slider" && !one.whole)
          .map(([name]) => `${losses[side.loss].symbols[name] || name} = ${brief(best.side.params[name])}`).join(", ")};
      }
    }
    return {values: null, accuracy: null, message: "Trained by a kernel only, for this setting."};
  }

  // -- surroundings

  save() {
    if (!this.link) return;
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.link.save({...this.state, message: this.alert.textContent}), 40);
  }

  // Lighter colours where the page's text is light.
  follow() {
    const look = () => {
      const rgb = getComputedStyle(this.root).color.match(/[\d.]+/g)?.map(Number);
      if (!rgb) return requestAnimationFrame(look);  // a widget is drawn before it is put into the page
      this.root.classList.toggle("lb-dark", 0.3 * rgb[0] + 0.6 * rgb[1] + 0.1 * rgb[2] > 128);
    };
    look();
    this.watcher = new MutationObserver(look);
    for (const element of [document.documentElement, document.body]) this.watcher.observe(element, {attributes: true});
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", look);
    this.unfollow = () => { this.watcher.disconnect(); this.scheme.removeEventListener("change", look); };
  }

  close() {
    clearTimeout(this.waiting);
    clearTimeout(this.saving);
    this.sized.disconnect();
    this.unfollow();
  }
}

function mount(root, setup, state, link = null) { return new Explorer(root, setup, state, link); }

// What a page calls beside the still picture that it shows where no script runs. One that stands in for a widget sleeps
// until it is clear that no widget draws itself; a page without JupyterLab has none.
function start(name, setup, state, standsIn) {
  const root = document.getElementById(name), block = root.parentElement;
  const go = () => {
    block.hidden = false;
    root.nextElementSibling.remove();
    mount(root, setup, state);
  };
  if (!standsIn || !document.querySelector(".jp-NotebookPanel")) return go();
  block.hidden = true;
  const wait = tries => {
    if (document.querySelector(".lossbench-explorer:not(.lossbench-in-page)")) return;
    if (tries) setTimeout(wait, 100, tries - 1); else go();
  };
  return wait(100);
}

// What anywidget calls for every view of the widget.
function render({model, el}) {
  const root = el.appendChild(document.createElement("div"));
  const link = {
    ask: message => model.send(message),
    save: state => { model.set("state", state); model.save_changes(); },
  };
  const explorer = mount(root, structuredClone(model.get("setup")), model.get("state"), link);
  const take = message => explorer.take(message);
  model.on("msg:custom", take);
  return () => { model.off("msg:custom", take); explorer.close(); };
}

export {GRIDS, mount, start, curveOf, crossings, codeOf, labelOf, blend, decode};
export default {render};
