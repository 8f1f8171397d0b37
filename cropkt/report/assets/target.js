// One target: every source, what can be made of them, and the baselines on one axis.

let shownTarget = 0;

function choiceRows(target) {
  const found = DATA.choice[COHORTS[target].code] || [];
  const order = Object.keys(DATA.choices);
  return order.flatMap((method) => {
    const row = found.find((entry) => entry.method === method);
    if (!row || row.c_index_pooled === null) return [];
    const sources = [...new Set(row.sources)].map((code) => code.toUpperCase()).join(", ");
    const label = sources ? `${DATA.choices[method]}: ${sources}` : DATA.choices[method];
    const look = method === "oracle" ? { colour: "paper", line: "chosen", symbol: "triangle-up" } : { colour: "chosen", symbol: "triangle-up" };
    return [estimate(label, row, { ...look, kind: "choosing or combining sources" })];
  });
}

function sourceRows(target) {
  const rows = COHORTS.map((_, source) => source).filter((source) => source !== target && pairValue("c_index_pooled", source, target) !== null);
  rows.sort((one, other) => pairValue("c_index_pooled", other, target) - pairValue("c_index_pooled", one, target));
  return rows.map((source) => {
    const state = pairValue("state", source, target);
    const row = pairEstimate(source, target, `${DATA.marks[state] || ""} ${codeOf(source)}`, { colour: DATA.transferring.includes(state) ? "high" : "higher", line: "high" });
    return { ...row, kind: state, hover: pairLines(source, target).slice(0, 2).join(": "), open: () => openPair(source, target) };
  });
}

function targetSummary(target, sources) {
  const { name, organ, group, patients, events } = COHORTS[target];
  const parts = [`${codeOf(target)}, ${name}${organ === "unknown" ? "" : ` (${organ}; ${group})`}: ${patients ?? 0} test patients, ${events ?? 0} events.`];
  const honest = (DATA.choice[COHORTS[target].code] || []).find((entry) => entry.method === "honest");
  if (honest && honest.c_index_pooled !== null) {
    const own = pairValue("c_index_pooled", target, target);
    parts.push(`The source chosen on training patients reaches ${decimals(honest.c_index_pooled)} (gap to the oracle ${signed(honest.gap)}), the cohort's own model ${decimals(own)}.`);
  }
  const transferring = sources.filter((row) => DATA.transferring.includes(row.kind)).length;
  if (pairValue("state", target, target) === "cannot tell" || sources.every((row) => row.kind === "cannot tell")) parts.push("Too few events to tell sources apart.");
  else if (DATA.judged) parts.push(`${transferring} of ${sources.length} sources transfer.`);
  return parts.join(" ");
}

function showTarget(target) {
  shownTarget = target;
  byId("choose-target").elements.target.value = COHORTS[target].code;
  const choice = choiceRows(target);
  const sources = sourceRows(target);
  const own = pairValue("c_index_pooled", target, target) === null ? [] : [pairEstimate(target, target, "own model", { colour: "low", symbol: "square", kind: "trained on this cohort", open: () => openPair(target, target) })];
  const baselines = baselineEstimates(target).map((row) => ({ ...row, kind: "baseline" }));
  const rows = [...choice.map((row) => ({ ...row, band: true })), ...own, ...baselines, ...sources.map((row) => ({ ...row, band: true }))];
  byId("target-summary").textContent = targetSummary(target, sources);
  byId("target-plot").hidden = byId("target-hint").hidden = !rows.length;
  byId("target-table").replaceChildren(makeTable(
    ["", "what it is", "pooled C-index", "lower", "upper"],
    rows.map((row) => [row.label.trim(), row.kind, decimals(row.value), decimals(row.low), decimals(row.high)]),
  ));
  return rows.length ? drawForest(byId("target-plot"), rows) : Promise.resolve();
}

function startTarget() {
  byId("choose-target").elements.target.addEventListener("change", (event) => showTarget(cohortNumber(event.target.value)));
  byId("previous-target").addEventListener("click", () => showTarget((shownTarget + COUNT - 1) % COUNT));
  byId("next-target").addEventListener("click", () => showTarget((shownTarget + 1) % COUNT));
  return showTarget(0);
}
