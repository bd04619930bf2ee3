// The small explorer that needs no kernel: two losses on softmax, drawn by the page itself.
// The formulas are those of lossbench.losses for one sample whose wrong classes share 1 - p evenly;
// tests/test_explorer_in_page.py holds them against Python over a grid.
const LOSSES = {
  cross_entropy: {
    value: p => -Math.log(p),
    slope: p => -1 / p,
  },
  js_divergence: {
    value: p => Math.log(2) - (1 + p) * Math.log1p(p) / 2 + p * Math.log(p) / 2,
    slope: p => Math.log(p / (1 + p)) / 2,
  },
  focal: {
    value: (p, C, {gamma}) => -((1 - p) ** gamma) * Math.log(p),
    slope: (p, C, {gamma}) => gamma * (1 - p) ** (gamma - 1) * Math.log(p) - (1 - p) ** gamma / p,
  },
  adma: {
    value: (p, C, {a}) => -Math.E * Math.expm1(Math.expm1(a * Math.log(p))),
    slope: (p, C, {a}) => -a * p ** (a - 1) * Math.exp(p ** a),
  },
  mse: {
    value: (p, C) => (1 - p) ** 2 / (C - 1),
    slope: (p, C) => -2 * (1 - p) / (C - 1),
  },
  squared_hinge: {
    value: (p, C) => ((1 - p) ** 2 + (C - 1) * (1 + (1 - p) / (C - 1)) ** 2) / C,
    slope: (p, C) => (-2 * (1 - p) - 2 * (1 + (1 - p) / (C - 1))) / C,
  },
  sampling_free: {
    value: (p, C, {beta, gamma}) => (1 - p) ** gamma * (-Math.log(p)) ** beta,
    slope: (p, C, {beta, gamma}) => {
      const c = -Math.log(p);
      return -gamma * (1 - p) ** (gamma - 1) * c ** beta - beta * (1 - p) ** gamma * c ** (beta - 1) / p;
    },
  },
  confidence_penalty: {
    value: (p, C, {lam}) => -Math.log(p) + lam * (p * Math.log(p) + (1 - p) * Math.log((1 - p) / (C - 1))),
    slope: (p, C, {lam}) => -1 / p + lam * Math.log(p * (C - 1) / (1 - p)),
  },
};

// Loss and pull on the target's softmax logit at each p.
function curve(name, params, C, grid) {
  const {value, slope} = LOSSES[name];
  return {
    loss: grid.map(p => value(p, C, params)),
    pull: grid.map(p => slope(p, C, params) * p * (1 - p)),
  };
}

const GRID = Array.from({length: 199}, (_, i) => (i + 1) / 200);
const WIDTH = 340, HEIGHT = 230, LEFT = 48, TOP = 26, RIGHT = 10, BOTTOM = 40;

function limits(curves) {
  const all = curves.flatMap(values => values.slice(3)).filter(Number.isFinite);
  const low = Math.min(0, ...all), high = Math.max(0, ...all);
  const power = 10 ** Math.floor(Math.log10((high - low) / 4 || 1));
  const step = [1, 2, 5, 10].map(k => k * power).find(size => size * 4.0001 >= high - low) || 1;
  return [step * Math.floor(low / step + 1e-9), step * Math.ceil(high / step - 1e-9), step];
}

function panel(title, curves, looks) {
  const [low, high, step] = limits(curves);
  const x = p => LEFT + p * (WIDTH - LEFT - RIGHT);
  const y = v => TOP + (high - v) / (high - low || 1) * (HEIGHT - TOP - BOTTOM);
  const text = (tx, ty, words, anchor) => `<text x="${tx}" y="${ty}" text-anchor="${anchor}">${words}</text>`;
  let body = `<g font-size="11" fill="currentColor">${text(LEFT, 15, `<tspan font-weight="bold">${title}</tspan>`, "start")}`;
  for (let v = low; v <= high + step / 2; v += step)
    body += text(LEFT - 6, y(v) + 4, String(+v.toPrecision(6)).replace("-", "\u2212"), "end");
  for (const p of [0, 0.2, 0.4, 0.6, 0.8, 1]) body += text(x(p), HEIGHT - BOTTOM + 16, p, "middle");
  body += text(x(0.5), HEIGHT - 6, "p, probability of the target", "middle") + "</g>";
  body += `<path d="M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}M${LEFT} ${y(0)}H${WIDTH - RIGHT}" `
    + `stroke="currentColor" stroke-opacity=".45" fill="none"/>`;
  const room = high - low, frame = `${LEFT} ${TOP - 2} ${WIDTH - LEFT - RIGHT} ${HEIGHT - TOP - BOTTOM + 4}`;
  const [fx, fy, fw, fh] = frame.split(" ");
  body += `<svg x="${fx}" y="${fy}" width="${fw}" height="${fh}" viewBox="${frame}">`; // cuts curves off at the frame
  curves.forEach((values, k) => {
    const inReach = values.map(v => Math.min(high + room, Math.max(low - room, v)));
    const points = inReach.map((v, i) => `${x(GRID[i]).toFixed(1)} ${y(v).toFixed(1)}`);
    body += `<path class="curve" d="M${points.join("L")}" stroke="${looks[k].colour}" stroke-width="2.2" `
      + `stroke-dasharray="${looks[k].dashes}" fill="none"/>`;
  });
  body += "</svg>";
  return `<svg role="img" aria-label="${title}" viewBox="0 0 ${WIDTH} ${HEIGHT}" style="flex: 1 1 280px; max-width: 460px">${body}</svg>`;
}

// Build the controls and pictures inside `root`; `setup` holds the sides, looks and slider ranges from Python.
function mount(root, setup) {
  const state = setup.sides.map(side => ({...side, params: {...side.params}}));
  const pictures = document.createElement("div");
  pictures.style = "display: flex; flex-wrap: wrap";
  const draw = () => {
    const drawn = state.map(side => curve(side.loss, side.params, setup.num_classes, GRID));
    pictures.innerHTML = panel("L: the loss", drawn.map(one => one.loss), setup.looks)
      + panel("dL/dz: pull on the target's logit", drawn.map(one => one.pull), setup.looks);
  };
  const controls = document.createElement("div");
  controls.style = "display: flex; flex-wrap: wrap; gap: 8px 32px";
  state.forEach((side, k) => {
    const box = controls.appendChild(document.createElement("div"));
    box.style = `flex: 1 1 240px; max-width: 420px; border-left: 4px ${k ? "dashed" : "solid"} ${setup.looks[k].colour}; padding-left: 8px`;
    const menu = document.createElement("select");
    menu.setAttribute("aria-label", setup.looks[k].name + " loss");
    for (const name of Object.keys(setup.controls)) menu.add(new Option(name, name, false, name === side.loss));
    const sliders = document.createElement("div");
    const lay = () => {
      sliders.replaceChildren(...Object.entries(setup.controls[side.loss]).map(([name, range]) => {
        const label = document.createElement("label");
        label.style = "display: flex; gap: 8px; align-items: center";
        const slider = Object.assign(document.createElement("input"), {type: "range", ...range, style: "flex: 1"});
        slider.value = side.params[name] ?? range.start;
        side.params[name] = +slider.value;
        const shown = document.createElement("output");
        shown.textContent = slider.value;
        slider.addEventListener("input", () => { side.params[name] = +(shown.textContent = slider.value); draw(); });
        label.append(name, slider, shown);
        return label;
      }));
    };
    menu.addEventListener("change", () => { side.loss = menu.value; side.params = {}; lay(); draw(); });
    box.append(setup.looks[k].name + ": ", menu, sliders);
    lay();
  });
  root.replaceChildren(controls, pictures);
  draw();
}

if (typeof module !== "undefined") module.exports = {LOSSES, curve};
