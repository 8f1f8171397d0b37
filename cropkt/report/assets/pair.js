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
  byId("curves-plot").hidden = byId("risk-table").hidden = !curves;
  if (!curves) {
    note.textContent = "No curves: the predictions are not in this results folder, or all patients have the same risk.";
    return;
  }
  note.textContent = `Split at the median risk of each test fold. Log-rank p ${withSign(curves.p)}` +
    ` for this one split, not corrected for the number of pairs. Ticks: patients last seen without the event.`;
  const groups = [["high", "high risk", HIGH_COLOUR, "solid"], ["low", "low risk", LOW_COLOUR, "dash"]];
  const traces = groups.flatMap(([key, label, colour, dash]) => curveTraces(curves[key], label, colour, dash));
  Plotly.react(byId("curves-plot"), traces, {
    height: 360, margin: { l: 60, r: 20, t: 10, b: 45 }, dragmode: false, font: { family: FONT, size: 12, color: "#1f2328" },
    legend: { x: 0.96, xanchor: "right", y: 1, bgcolor: "rgba(255,255,255,0.7)" },
    xaxis: axisLayout({ title: { text: "years" }, rangemode: "tozero", tickvals: curves.ticks, fixedrange: true }),
    yaxis: axisLayout({ title: { text: "survival" }, range: [0, 1.03], tickformat: ".0%", fixedrange: true }),
    annotations: [{ xref: "paper", yref: "paper", x: 0.96, xanchor: "right", y: 0.8, showarrow: false, text: plain(`log-rank p ${withSign(curves.p)}`) }],
  }, { ...CONFIG, responsive: true });
  const rows = groups.map(([key, label]) => [label, ...curves[key][3]]);
  byId("risk-table").replaceChildren(makeTable(["at risk after", ...curves.ticks.map((tick) => `${tick} y`)], rows));
}

function curveTraces([days, survival, censored, , patients, events], label, colour, dash) {
  const years = (day) => day / 365.25;
  const at = (day) => {
    let value = 1;
    for (let step = 0; step < days.length && days[step] <= day; step += 1) value = survival[step] / 1000;
    return value;
  };
  return [
    {
      type: "scatter", mode: "lines", name: `${label}: ${patients} patients, ${events} events`, x: [0, ...days.map(years)],
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
  return order.map((name) => estimate(DATA.labels[name], found[name], { colour: "#fff", line: QUIET, symbol: "diamond", name }));
}

// C-index of a baseline, or of the target's own model. A difference may be of fewer patients and pairs: those of both.
function ownNumber(name, target) {
  if (name === "self") return pairValue("c_index_pooled", target, target);
  const found = DATA.baselines[COHORTS[target].code] || {};
  return found[name] ? found[name].c_index_pooled : null;
}

function drawBaselines(source, target) {
  const rows = [pairEstimate(source, target, source === target ? "own model" : codeOf(source), { colour: HIGH_COLOUR, band: true })];
  if (source !== target && pairValue("c_index_pooled", target, target) !== null) {
    rows.push(pairEstimate(target, target, `${codeOf(target)}'s own model`, { colour: LOW_COLOUR, symbol: "square" }));
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
  const spread = (sourceFold) => (sources.indexOf(sourceFold) - (sources.length - 1) / 2) * 0.12;
  const place = new Map(columns.map(([fold], position) => [fold, position]));
  Plotly.react(byId("folds-plot"), [{
    type: "scatter", mode: "markers", marker: { size: 9, color: HIGH_COLOUR, opacity: 0.75 },
    x: known.map(([sourceFold, fold]) => place.get(fold) + spread(sourceFold)), y: known.map(([, , value]) => value / 1000),
    customdata: known.map(([sourceFold, fold]) => `source fold ${sourceFold} on test fold ${fold}`), hovertemplate: "%{customdata}: %{y:.3f}<extra></extra>",
  }], {
    height: 300, margin: { l: 60, r: 20, t: 10, b: 70 }, dragmode: false, showlegend: false, font: { family: FONT, size: 12, color: "#1f2328" },
    xaxis: axisLayout({
      tickvals: columns.map((_, position) => position), range: [-0.5, columns.length - 0.5], showgrid: false, fixedrange: true,
      tickangle: 0, ticktext: columns.map(([fold, patients, events]) => `test fold ${fold}<br>${patients} patients<br>${events} event${events === 1 ? "" : "s"}`),
    }),
    yaxis: axisLayout({ title: { text: "C-index" }, range: [-0.03, 1.03], fixedrange: true }),
    shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 0.5, y1: 0.5, line: { color: QUIET, dash: "dot", width: 1.5 } }],
  }, { ...CONFIG, responsive: true });
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
