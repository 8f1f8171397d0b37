// One pair: survival curves, baselines, folds.

const open = { source: 0, target: 0 };

function openPair(source, target) {
  Object.assign(open, { source, target });
  const dialog = byId("pair");
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  byId("pair-title").textContent = source === target ? `${codeOf(source)} within itself` : `${codeOf(source)} → ${codeOf(target)}`;
  const [, ...facts] = pairLines(source, target);
  const state = pairValue("state", source, target);
  const meaning = ["failed", "cannot tell", "self"].includes(state) ? "" : DATA.meaning[state];
  byId("pair-verdict").textContent = meaning ? `${DATA.marks[state] || ""} ${state}: ${meaning}` : stateText(source, target);
  const names = source === target ? COHORTS[source].name : `trained on ${COHORTS[source].name}, tested on ${COHORTS[target].name}`;
  byId("pair-facts").textContent = [names, ...facts.slice(0, 3)].join("; ");
  byId("reverse-pair").hidden = source === target;
  byId("pair-body").hidden = pairValue("c_index_pooled", source, target) === null;
  history.replaceState(null, "", "#pair=" + [source, target].map((cohort) => encodeURIComponent(COHORTS[cohort].code)).join(","));
  if (byId("pair-body").hidden) return;
  drawCurves(source, target);
  drawBaselines(source, target);
  drawFolds(source, target);
}

function drawCurves(source, target) {
  const curves = DATA.curves[pairIndex(source, target)];
  const note = byId("curves-note");
  byId("curves-plot").hidden = byId("risk-table").hidden = byId("curves-words").hidden = !curves;
  if (!curves) {
    note.textContent = "No curves: the predictions are not in this results folder, or all patients have the same risk.";
    return;
  }
  byId("curves-words").textContent = hazardInWords(curves);
  note.textContent = `Split at the median risk of each test fold. Log-rank p ${withSign(curves.p)}` +
    ` for this one split, not corrected for the number of pairs. Bands: 95 %. Ticks: patients last seen without the event.`;
  const colours = theme();
  const groups = [["high", "high risk", colours.high, "solid"], ["low", "low risk", colours.low, "dash"]];
  const traces = groups.flatMap(([key, label, colour, dash]) => curveTraces(curves[key], label, colour, dash));
  const [ratio, least, most] = curves.ratio;
  const told = ratio === null ? [] : [`hazard ratio ${times(ratio)} (${times(least)} to ${times(most)})`];
  const lines = [...told, `log-rank p ${withSign(curves.p)}`].map(plain).join(byId("curves-plot").clientWidth < 480 ? "<br>" : ", ");
  Plotly.react(byId("curves-plot"), traces, plotLayout(colours, {
    height: 400, margin: { l: 60, r: 20, t: 60, b: 45 }, legend: { x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" },
    xaxis: axisLayout(colours, { title: { text: "years" }, rangemode: "tozero", tickvals: curves.ticks, fixedrange: true }),
    yaxis: axisLayout(colours, { title: { text: "survival" }, range: [0, 1.03], tickformat: ".0%", fixedrange: true }),
    annotations: [{ xref: "paper", yref: "paper", x: 0.02, xanchor: "left", y: 0.02, yanchor: "bottom", align: "left", showarrow: false, text: lines }],
  }), { ...CONFIG, responsive: true });
  const rows = groups.map(([key, label]) => [label, ...curves[key][3]]);
  byId("risk-table").replaceChildren(makeTable(["at risk after", ...curves.ticks.map((tick) => `${tick} y`)], rows));
}

// "#rrggbb", nearly clear.
function faint(colour) {
  const parts = [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
  return `rgba(${parts.join(",")},0.15)`;
}

function times(value) {
  return value === null ? "–" : value >= 100 ? "over 99" : value.toFixed(value < 10 ? 2 : 0);
}

// How much worse the patients called high risk fare, for readers who do not read curves.
function hazardInWords({ p, ratio: [ratio, least, most] }) {
  if (ratio === null) return "Nobody had the event while both groups were followed, so they cannot be compared.";
  const range = `(95 % interval ${times(least)} to ${times(most)})`;
  const events = `At any time, patients predicted at high risk had the event ${times(ratio)} times as often as those at low risk ${range}. `;
  if (p === null || p >= 0.05) return events + "So few patients do not show that the groups differ.";
  return events + (ratio > 1 ? "The model tells them apart." : "The model has it the wrong way round.");
}

// Days from the steps between them.
function daysOf(steps) {
  let day = 0;
  return steps.map((step) => (day += step));
}

function curveTraces([fallSteps, survival, censoredSteps, , patients, events, lower, upper], label, colour, dash) {
  const [days, censored] = [daysOf(fallSteps), daysOf(censoredSteps)];
  const years = (day) => day / 365.25;
  const at = (day) => {
    let value = 1;
    for (let step = 0; step < days.length && days[step] <= day; step += 1) value = survival[step] / 1000;
    return value;
  };
  const steps = [0, ...days.map(years)];
  const edge = (values) => ({ type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip", x: steps, y: [1, ...values.map((value) => value / 100)], line: { shape: "hv", width: 0 } });
  return [
    edge(lower),
    { ...edge(upper), fill: "tonexty", fillcolor: faint(colour) },
    {
      type: "scatter", mode: "lines", name: `${label}: ${patients} patients, ${events} events`, x: steps,
      y: [1, ...survival.map((value) => value / 1000)], line: { shape: "hv", color: colour, width: 2.5, dash },
      hovertemplate: `${label}, %{x:.1f} years: %{y:.0%}<extra></extra>`,
    },
    {
      type: "scatter", mode: "markers", showlegend: false, hoverinfo: "skip", x: censored.map(years), y: censored.map(at),
      marker: { symbol: "line-ns-open", size: 7, color: colour, line: { width: 1.2 } },
    },
  ];
}

function estimate(label, found, look) {
  const value = found.c_index_pooled;
  return { label, value, low: found.interval_lower, high: found.interval_upper, hover: `${label}: ${decimals(value)}, ${interval(found.interval_lower, found.interval_upper)}`, ...look };
}

function pairEstimate(source, target, label, look) {
  const found = {};
  for (const name of ["c_index_pooled", "interval_lower", "interval_upper"]) found[name] = pairValue(name, source, target);
  return estimate(label, found, look);
}

function baselineEstimates(target) {
  const found = DATA.baselines[COHORTS[target].code] || {};
  const order = Object.keys(DATA.labels).filter((name) => found[name] && found[name].c_index_pooled !== null);
  return order.map((name) => estimate(DATA.labels[name], found[name], { colour: "paper", line: "quiet", symbol: "diamond", name }));
}

// C-index of a baseline, or of the target's own model. A difference may be of fewer patients and pairs: those of both.
function ownNumber(name, target) {
  if (name === "self") return pairValue("c_index_pooled", target, target);
  const found = DATA.baselines[COHORTS[target].code] || {};
  return found[name] ? found[name].c_index_pooled : null;
}

function drawBaselines(source, target) {
  const rows = [pairEstimate(source, target, source === target ? "own model" : codeOf(source), { colour: "high", band: true })];
  if (source !== target && pairValue("c_index_pooled", target, target) !== null) {
    rows.push(pairEstimate(target, target, `${codeOf(target)}'s own model`, { colour: "low", symbol: "square" }));
  }
  const baselines = baselineEstimates(target);
  drawForest(byId("baselines-plot"), [...rows, ...baselines]);
  const value = (name) => pairValue(name, source, target);
  const chance = ["chance (0.5)", "0.500", signed(value("c_index_pooled") - 0.5), probability(value("p_chance")), probability(value("q_chance"))];
  const compared = DATA.compared.filter((name) => value("difference_" + name) !== null).map((name) => [
    DATA.labels[name], decimals(ownNumber(name, target)), signed(value("difference_" + name)),
    probability(value("p_" + name)), probability(value("q_" + name)),
  ]);
  byId("baselines-table").replaceChildren(makeTable(["against", "its C-index", "difference", "p", "q of better, over all pairs"], [chance, ...compared]));
}

function drawFolds(source, target) {
  const cells = DATA.folds.cells[pairIndex(source, target)] || [];
  const columns = DATA.folds.columns[COHORTS[target].code] || [];
  const known = cells.filter(([, , value]) => value !== null);
  const sources = [...new Set(cells.map(([sourceFold]) => sourceFold))].sort((a, b) => a - b);
  byId("folds-note").textContent = source === target
    ? "Each model on its own test fold."
    : "Each dot is one source model on one test fold. Dots in one column are the same patients, so they are not independent.";
  const colours = theme();
  const narrow = byId("folds-plot").clientWidth < 620;
  const foldName = ([fold, patients, events]) => narrow ? `${fold}<br>${patients}<br>${events}` : `test fold ${fold}<br>${patients} patients<br>${events} event${events === 1 ? "" : "s"}`;
  const spread = (sourceFold) => (sources.indexOf(sourceFold) - (sources.length - 1) / 2) * 0.12;
  const place = new Map(columns.map(([fold], position) => [fold, position]));
  Plotly.react(byId("folds-plot"), [{
    type: "scatter", mode: "markers", marker: { size: 9, color: colours.high, opacity: 0.75 },
    x: known.map(([sourceFold, fold]) => place.get(fold) + spread(sourceFold)), y: known.map(([, , value]) => value / 1000),
    customdata: known.map(([sourceFold, fold]) => `source fold ${sourceFold} on test fold ${fold}`), hovertemplate: "%{customdata}: %{y:.3f}<extra></extra>",
  }], plotLayout(colours, {
    height: 300, margin: { l: 60, r: 20, t: 10, b: 70 }, showlegend: false,
    xaxis: axisLayout(colours, {
      tickvals: columns.map((_, position) => position), range: [-0.5, columns.length - 0.5], showgrid: false, fixedrange: true,
      tickangle: 0, ticktext: columns.map(foldName), title: { text: narrow ? "test fold, patients, events" : "" },
    }),
    yaxis: axisLayout(colours, { title: { text: "C-index" }, range: [-0.03, 1.03], fixedrange: true }),
    shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 0.5, y1: 0.5, line: { color: colours.quiet, dash: "dot", width: 1.5 } }],
  }), { ...CONFIG, responsive: true });
  const found = new Map(cells.map(([sourceFold, fold, value]) => [`${sourceFold}/${fold}`, value]));
  const written = (value) => (value === undefined ? "" : value === null ? "–" : decimals(value / 1000));
  byId("folds-table").replaceChildren(makeTable(
    ["", ...columns.map(([fold]) => `test fold ${fold}`)],
    sources.map((sourceFold) => [`source fold ${sourceFold}`, ...columns.map(([fold]) => written(found.get(`${sourceFold}/${fold}`)))]),
  ));
}

function startPair() {
  byId("close-pair").addEventListener("click", () => byId("pair").close());
  byId("pair").addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
  byId("reverse-pair").addEventListener("click", () => openPair(open.target, open.source));
  byId("pair-to-target").addEventListener("click", () => {
    byId("pair").close();
    showTarget(open.target);
    byId("target").scrollIntoView();
  });
  byId("open-pair").addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = new FormData(event.target);
    openPair(cohortNumber(chosen.get("source")), cohortNumber(chosen.get("target")));
  });
}
