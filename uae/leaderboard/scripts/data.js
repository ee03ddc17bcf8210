// The page's data. A sample is stored as an array whose texts are places in one list.

export const data = JSON.parse(document.getElementById("data").textContent);

/** The samples of a row, as objects. */
export function samplesOf(row) {
  if (!row.result) return [];
  row.read ??= row.result.samples.map(
    ([id, part, state, score, seed, prompt, reason, details]) => ({
      id: data.texts[id],
      part: data.texts[part],
      state: data.states[state],
      score,
      seed,
      prompt: data.texts[prompt],
      reason: data.texts[reason],
      details: details < 0 ? null : row.result.details[details],
    }),
  );
  return row.read;
}

/** Rows of a table that were measured, each with its place in the table. */
export function measuredRows(table) {
  return table.rows.map((row, place) => ({ row, place })).filter(({ row }) => row.result);
}

/** A row's name, with what tells it from rows of the same name. */
export function fullName(row) {
  return row.note ? `${row.name} (${row.note})` : row.name;
}
